// Package cli is what the command lines of the programs have in common: the help
// text and the manual page from one description, completion in the order of the
// help text, configuration files whose mistakes have a line, the nearest known
// word to a misspelt one. What the words mean is each program's own.
package cli
