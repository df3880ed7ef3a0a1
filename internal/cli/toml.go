package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/BurntSushi/toml"
)

// Key is a key at the top of a TOML file. A table is one key.
type Key struct {
	Name string
	Line int // of its value

	meta  *toml.MetaData
	value toml.Primitive
}

// Value returns what the key is set to.
func (k *Key) Value() (value any, err error) {
	err = k.meta.PrimitiveDecode(k.value, &value)
	return value, err
}

// Keys returns the keys of a file in its order. Errors name it and the line.
func Keys(text, file string) ([]Key, error) {
	var table map[string]toml.Primitive
	meta, err := toml.Decode(text, &table)
	if e, ok := errors.AsType[toml.ParseError](err); ok {
		return nil, fmt.Errorf("%s:%d: %s", file, e.Position.Line, e.Message)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var keys []Key
	for _, key := range meta.Keys() {
		if slices.ContainsFunc(keys, func(k Key) bool { return k.Name == key[0] }) {
			continue // inside a table
		}
		value := table[key[0]]
		keys = append(keys, Key{key[0], lineOf(&meta, value), &meta, value})
	}
	return keys, nil
}

// lineOf returns where a value stands: the library tells in its errors. A table
// that exists because of a dotted key stands nowhere itself.
func lineOf(meta *toml.MetaData, value toml.Primitive) int {
	e, _ := errors.AsType[toml.ParseError](meta.PrimitiveDecode(value, refuse{}))
	var inner map[string]toml.Primitive
	if e.Position.Line == 0 && meta.PrimitiveDecode(value, &inner) == nil {
		for _, v := range inner {
			return lineOf(meta, v)
		}
	}
	return e.Position.Line
}

type refuse struct{}

func (refuse) UnmarshalTOML(any) error { return errors.New("") }
