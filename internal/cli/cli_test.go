package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func TestNearest(t *testing.T) {
	for _, set := range []struct {
		names []string
		want  map[string]string
	}{
		{[]string{"rate", "retries", "ports", "seed", "exclude", "excludefile"}, map[string]string{
			"rate": "rate", "raet": "rate", "rat": "rate", "rtae": "rate", "ra": "", "raets": "",
			"exlcued": "exclude", "excludefiel": "excludefile", "port": "ports", "feed": "seed", "feet": "", "retires": "retries", "": ""}},
		{[]string{"policy", "metrics", "control", "evil"}, map[string]string{
			"polcy": "policy", "plicoy": "policy", "metrisc": "metrics", "xyz": "", "controll": "control"}},
		{[]string{"eve"}, map[string]string{"eve": "eve", "ever": "eve"}},
	} {
		for word, want := range set.want {
			if got := Nearest(word, set.names); got != want {
				t.Errorf("nearest to %q: %q, want %q", word, got, want)
			}
		}
	}
}

func TestDistanceIsSymmetric(t *testing.T) {
	words := []string{"", "a", "ab", "ba", "abc", "acb", "rate", "tear"}
	for _, a := range words {
		for _, b := range words {
			d := distance(a, b)
			if d != distance(b, a) || (d == 0) != (a == b) || d > max(len(a), len(b)) {
				t.Errorf("distance of %q and %q: %d, back %d", a, b, d, distance(b, a))
			}
		}
	}
}

func TestGrouped(t *testing.T) {
	for digits, want := range map[string]string{"0": "0", "999": "999", "1000": "1,000", "1234567": "1,234,567", "100000": "100,000"} {
		if got := Grouped(digits); got != want {
			t.Errorf("%s: %s, want %s", digits, got, want)
		}
	}
}

func TestKeys(t *testing.T) {
	keys, err := Keys("a = 1\n\nb = [\"x\",\n \"y\"]\nc.d = true\n[t]\nu = 2\nv = 3\n", "f.toml")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var lines []int
	for _, k := range keys {
		got, lines = append(got, k.Name), append(lines, k.Line)
		if _, err := k.Value(); err != nil {
			t.Errorf("%s: %v", k.Name, err)
		}
	}
	if want := []string{"a", "b", "c", "t"}; !slices.Equal(got, want) {
		t.Errorf("keys %q, want %q", got, want)
	}
	if want := []int{1, 3, 5, 6}; !slices.Equal(lines, want) {
		t.Errorf("lines %d, want %d", lines, want)
	}
	if _, err := Keys("a = 1\nb = \n", "f.toml"); err == nil || !strings.HasPrefix(err.Error(), "f.toml:2: ") {
		t.Errorf("a mistake: %v", err)
	}
}

func testPage() (*Page, []Group) {
	flags := NewFlags()
	flags.StringP("zeta", "z", "", "read `FILE`, "+strings.Repeat("and more ", 20)+"of it")
	flags.Bool("alpha", false, "say 'no' with a \\ and -")
	name := func(f *pflag.Flag) string { return "--" + f.Name }
	return &Page{Name: "prog", Chapter: 8, Tagline: "do it", Synopsis: []string{"prog FILE"},
		Introduction: Section{"Description", false, "One.\n\nTwo."}, Sections: []Section{{"Examples", true, "prog -z a\n.b"}},
		Column: 20, Left: name, Spellings: func(f *pflag.Flag) []string { return []string{name(f)} },
	}, []Group{{"First", flags}}
}

func TestHelpWrapsAndKeepsTheOrder(t *testing.T) {
	page, groups := testPage()
	var b strings.Builder
	page.Help(&b, groups)
	zeta, alpha := strings.Index(b.String(), "\n  --zeta FILE       read FILE, and"), strings.Index(b.String(), "\n  --alpha           say")
	if zeta < 0 || alpha < zeta || !strings.Contains(b.String(), "\nExamples:\n  prog -z a\n  .b\n") {
		t.Errorf("%d, %d:\n%s", zeta, alpha, b.String())
	}
	for line := range strings.Lines(b.String()) {
		if len(line) > helpWidth+1 {
			t.Errorf("too long: %s", line)
		}
	}
}

func TestManProtectsItsText(t *testing.T) {
	page, groups := testPage()
	var b strings.Builder
	page.Man(&b, groups)
	for _, want := range []string{".TH PROG 8\n.SH NAME\nprog \\- do it\n", "One.\n.PP\nTwo.\n", ".TP\n\\fB\\-\\-zeta\\fR \\fIFILE\\fR\n",
		"say \\(aqno\\(aq with a \\e and \\-\n", ".SH EXAMPLES\n.nf\nprog \\-z a\n\\&.b\n.fi\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("lacks %q:\n%s", want, b.String())
		}
	}
}

func TestCompleteOption(t *testing.T) {
	root := &cobra.Command{Use: "prog", Run: func(*cobra.Command, []string) {}}
	root.Flags().SortFlags = false
	root.Flags().StringP("file", "f", "", "read `FILE`")
	root.Flags().Bool("fast", false, "hurry")
	sub := &cobra.Command{Use: "sub", Run: func(*cobra.Command, []string) {}}
	sub.Flags().Bool("flat", false, "lie down")
	root.AddCommand(sub)
	offers := func(f *pflag.Flag, text string, offer func(option, text string)) { offer("--"+f.Name, text) }
	special := func(word string) bool { return word == "-xY" }
	for _, c := range []struct {
		args, want string // want is empty if the question is not for options
	}{
		{"__complete --f", "--file\tread FILE\n--fast\thurry\n:4\n"},
		{"__completeNoDesc --fi", "--file\n:4\n"},
		{"__completeNoDesc sub --f", "--flat\n:4\n"},
		{"__complete --file --f", ""},
		{"__complete -f --f", ""},
		{"__complete -xY --f", ""},
		{"__completeNoDesc --fast --fi", "--file\n:4\n"},
		{"__complete --file=--f", ""},
		{"__complete -- --f", ""},
		{"__complete word", ""},
		{"word --f", ""},
	} {
		var b strings.Builder
		asked := CompleteOption(&b, strings.Fields(c.args), root, offers, special)
		if asked != (c.want != "") || b.String() != c.want {
			t.Errorf("%s: %v, %q, want %q", c.args, asked, b.String(), c.want)
		}
	}
}
