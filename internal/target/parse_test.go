package target

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestParseReadsTargetWords(t *testing.T) {
	tests := []struct {
		name, word string
		want       string // intervals, separated by spaces
	}{
		{"address", "9.9.9.9", "9.9.9.9"},
		{"block", "9.0.0.0/24", "9.0.0.0-9.0.0.255"},
		{"host_bits_are_ignored", "9.0.0.5/24", "9.0.0.0-9.0.0.255"},
		{"block_of_one", "9.0.0.5/32", "9.0.0.5"},
		{"range", "9.0.0.1-9.0.1.9", "9.0.0.1-9.0.1.9"},
		{"range_of_one", "9.0.0.1-9.0.0.1", "9.0.0.1"},
		{"octet_list", "9.0.0-1.1,5", "9.0.0.1 9.0.0.5 9.0.1.1 9.0.1.5"},
		{"octet_list_in_any_order", "9.0.0.5,1,3-4,4", "9.0.0.1 9.0.0.3-9.0.0.5"},
		{"octet_star", "9.0.*.1", strings.Join(each("9.0.", 0, 255, ".1"), " ")},
		{"octet_star_at_the_end", "9.0.0.*", "9.0.0.0-9.0.0.255"},
		{"octets_star_at_the_end", "9.0.*.*", "9.0.0.0-9.0.255.255"},
		{"octet_hyphen_is_everything", "9.0.0.-", "9.0.0.0-9.0.0.255"},
		{"octet_open_above", "9.0.0.250-", "9.0.0.250-9.0.0.255"},
		{"octet_open_below", "9.0.0.-5", "9.0.0.0-9.0.0.5"},
		{"octet_runs_join_across_octets", "9.0.0-1.0-9,250-255", "9.0.0.0-9.0.0.9 9.0.0.250-9.0.1.9 9.0.1.250-9.0.1.255"},
		{"octet_list_with_mask", "9.0.0,2.7/24", "9.0.0.0-9.0.0.255 9.0.2.0-9.0.2.255"},
		{"octet_list_with_mask_inside_an_octet", "9.0.0.1,9/29", "9.0.0.0-9.0.0.15"},
		{"octet_list_with_mask_of_a_single_address", "9.0.0.1,9/32", "9.0.0.1 9.0.0.9"},
		{"ipv6_address", "2001:470::1", "2001:470::1"},
		{"ipv6_in_brackets", "[2001:470::1]", "2001:470::1"},
		{"ipv6_with_dotted_tail", "2001:470::9.0.0.1", "2001:470::900:1"},
		{"ipv6_block", "2001:470::5/126", "2001:470::4-2001:470::7"},
		{"ipv6_block_shorter_than_64", "2001:470::5/32", "2001:470::-2001:470:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"ipv6_block_in_brackets", "[2001:470::]/127", "2001:470::-2001:470::1"},
		{"ipv6_range", "2001:470::1-2001:470::a", "2001:470::1-2001:470::a"},
		{"ipv6_range_in_brackets", "[2001:470::1]-[2001:470::a]", "2001:470::1-2001:470::a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(ranges(parse(t, tt.word)), " "); got != tt.want {
				t.Errorf("%s is %s, want %s", tt.word, got, tt.want)
			}
		})
	}
}

// each writes one word for each number from lo to hi.
func each(prefix string, lo, hi int, suffix string) []string {
	var out []string
	for v := lo; v <= hi; v++ {
		out = append(out, prefix+strconv.Itoa(v)+suffix)
	}
	return out
}

// Each of these must fail before any name is looked up, with a sentence that
// quotes the word and says what is wrong.
var malformedWords = []struct{ name, word, says string }{
	{"empty", "", "cannot be empty"},
	{"octet_above_255", "10.0.0.256", `"256" is above 255`},
	{"octet_far_above_255", "10.0.0.99999999999999999999", "is above 255"},
	{"three_octets", "10.0.0", "4 octets, not 3"},
	{"five_octets", "1.2.3.4.5", "4 octets, not 5"},
	{"one_number", "2130706433", "4 octets, not 1"},
	{"trailing_dot", "10.0.0.1.", "4 octets, not 5"},
	{"missing_octet", "10..0.1", "an octet is missing"},
	{"leading_zero", "010.0.0.1", `"010" has a leading zero`},
	{"double_zero", "10.0.0.00", `"00" has a leading zero`},
	{"leading_zero_in_a_list", "10.0.0.1,07", `"07" has a leading zero`},
	{"leading_zero_in_a_range", "10.0.0.01-10.0.0.9", `"01" has a leading zero`},
	{"prefix_length_above_32", "10.0.0.1/33", `prefix length "33" is not a number from 0 to 32`},
	{"prefix_length_missing", "10.0.0.1/", `prefix length "" is not`},
	{"prefix_length_with_leading_zero", "10.0.0.1/08", `prefix length "08" is not`},
	{"prefix_length_twice", "10.0.0.1/8/8", `prefix length "8/8" is not`},
	{"netmask", "10.0.0.0/255.255.255.0", "is not a number from 0 to 32"},
	{"reversed_range", "10.0.0.9-10.0.0.1", "reversed: 10.0.0.9 is above 10.0.0.1"},
	{"range_with_prefix_length", "10.0.0.1-10.0.0.9/24", "takes no prefix length"},
	{"range_of_octet_lists", "10.0.0.1,2-10.0.0.9", "is not one"},
	{"range_with_bad_end", "10.0.0.1-10.0.0.999", "is above 255"},
	{"range_to_half_an_address", "1.2.3.4-5.6", "neither a range of addresses"},
	{"reversed_octet_range", "10.0.0.9-1", "9-1 is reversed"},
	{"octet_with_two_hyphens", "10.0.0.1-2-3", `"2-3" is not an octet`},
	{"octet_with_star_and_digit", "10.0.0.1*", `"1*" is not an octet`},
	{"octet_list_with_comma_too_many", "10.0.0.1,,2", "an octet is missing"},
	{"addresses_separated_by_commas", "10.0.0.1,10.0.0.2", "separated by spaces"},
	{"names_separated_by_commas", "a.example,b.example", "separated by spaces"},
	{"ipv6_prefix_length_above_128", "2001:db8::/129", `"129" is not a number from 0 to 128`},
	{"ipv6_prefix_length_missing", "2001:db8::/", "is not a number from 0 to 128"},
	{"ipv6_reversed_range", "2001:db8::9-2001:db8::1", "reversed"},
	{"ipv6_range_with_prefix_length", "2001:db8::1-2001:db8::9/64", "takes no prefix length"},
	{"ipv6_with_two_gaps", "2001::db8::1", `"2001::db8::1" is not an IPv6 address`},
	{"ipv6_too_long", "1:2:3:4:5:6:7:8:9", "is not an IPv6 address"},
	{"hardware_address", "02:00:00:00:00:01", "is not an IPv6 address"},
	{"range_of_both_families", "10.0.0.1-2001:db8::1", `"10.0.0.1" is not an IPv6 address`},
	{"ipv4_in_brackets", "[10.0.0.1]", "is not an IPv6 address"},
	{"open_bracket", "[2001:db8::1", "is not an IPv6 address"},
	{"prefix_length_in_brackets", "[2001:db8::/64]", "is not an IPv6 address"},
	{"zone", "fe80::1%eth0", "choose the interface with -e"},
	{"zone_and_prefix_length", "fe80::%eth0/64", "choose the interface with -e"},
	{"zone_of_ipv4", "10.0.0.1%eth0", "choose the interface with -e"},
	{"mapped_address", "::ffff:10.0.0.1", "write 10.0.0.1"},
	{"mapped_block", "::ffff:10.0.0.0/104", "write 10.0.0.0"},
	{"mapped_range", "::ffff:10.0.0.0-::ffff:10.0.0.9", "write 10.0.0.0"},
	{"port", "10.0.0.1:80", "-p 80"},
	{"port_of_a_name", "www.example.com:443", "-p 443"},
	{"port_of_ipv6", "[2001:db8::1]:80", "-p 80"},
	{"url", "http://www.example.com/", "a URL is not a target"},
	{"option", "-oX", "mistyped option"},
	{"option_of_digits", "-10.0.0.1", "mistyped option"},
	{"hyphen", "-", "mistyped option"},
	{"name_with_prefix_length", "www.example.com/24", "needs an address"},
	{"name_with_wildcard", "*.example.com", "no wildcards"},
	{"name_ending_in_a_number", "host.10", "is not a number"},
	{"name_ending_in_a_hexadecimal_number", "0x7f000001", "is not a number"},
	{"name_ending_in_a_short_hexadecimal_number", "0x7f.0X1", "is not a number"},
	{"name_with_empty_label", "www..example.com", "a label is empty"},
	{"name_that_is_a_dot", ".", "4 octets, not 2"},
	{"name_with_hyphen_first", "www.-x.example", "begins or ends with a hyphen"},
	{"name_with_hyphen_last", "www.x-.example", "begins or ends with a hyphen"},
	{"name_with_long_label", strings.Repeat("a", 64) + ".example", "longer than 63"},
	{"name_too_long", strings.Repeat("a.", 127) + "example", "at most 253"},
	{"name_not_ascii", "bücher.example", "xn--"},
	{"name_with_space", "www example", "neither an address nor a host name"},
	{"name_with_nul", "www\x00.example", "neither an address nor a host name"},
	{"binary", "\xff\xfe1\x00", "neither an address nor a host name"},
}

func TestMalformedWordsAreErrorsAndNeverLookedUp(t *testing.T) {
	noLookup := func(_ context.Context, host string) ([]netip.Addr, error) {
		t.Errorf("%q was looked up", host)
		return nil, errors.New("no")
	}
	for _, tt := range malformedWords {
		t.Run(tt.name, func(t *testing.T) {
			words := append(Words("www.example.com"), Word{tt.word, "list.txt", 7})
			_, _, err := Parse(context.Background(), words, nil, noLookup)
			if !errors.Is(err, ErrSyntax) {
				t.Fatalf("Parse(%q): %v, want a syntax error", tt.word, err)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("the error is %q, want it to say %q", err, tt.says)
			}
			if prefix := "list.txt:7: " + quote(tt.word) + ": "; !strings.HasPrefix(err.Error(), prefix) {
				t.Errorf("the error is %q, want it to begin with %q", err, prefix)
			}
			if strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("the error %q is not one clean line", err)
			}
			_, _, err = Parse(context.Background(), Words("10.0.0.1"), Words(tt.word), noLookup)
			if !errors.Is(err, ErrSyntax) || !strings.HasPrefix(err.Error(), "exclude "+quote(tt.word)+": ") {
				t.Errorf("as an exclusion: %v, want a syntax error that says so", err)
			}
		})
	}
}

func TestExclusionsAlwaysWin(t *testing.T) {
	tests := []struct {
		name           string
		words, exclude string
		want           string
	}{
		{"from_the_middle", "9.0.0.0/24", "9.0.0.7", "9.0.0.0-9.0.0.6 9.0.0.8-9.0.0.255"},
		{"from_the_ends", "9.0.0.0/24", "9.0.0.0 9.0.0.255", "9.0.0.1-9.0.0.254"},
		{"beyond_the_ends", "9.0.0.0/24", "8.0.0.0-9.0.0.9 9.0.0.200-9.1.0.0", "9.0.0.10-9.0.0.199"},
		{"octet_list", "9.0.0.0/29", "9.0.0.1,3,5-7", "9.0.0.0 9.0.0.2 9.0.0.4"},
		{"of_a_named_special_block", "10.0.0.0/30", "10.0.0.1", "10.0.0.0 10.0.0.2-10.0.0.3"},
		{"one_across_several_targets", "9.0.0.1 9.0.0.3 9.0.0.5-9.0.0.9", "9.0.0.2-9.0.0.6", "9.0.0.1 9.0.0.7-9.0.0.9"},
		{"several_inside_one_target", "9.0.0.0-9.0.0.9", "9.0.0.1 9.0.0.3-9.0.0.4 9.0.0.9", "9.0.0.0 9.0.0.2 9.0.0.5-9.0.0.8"},
		{"ipv6", "2001:470::/126", "2001:470::1", "2001:470:: 2001:470::2-2001:470::3"},
		{"ipv6_at_the_top", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
			"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"},
		{"elsewhere", "9.0.0.1", "9.0.0.2 ::/0", "9.0.0.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _, err := Parse(context.Background(), Words(strings.Fields(tt.words)...), Words(strings.Fields(tt.exclude)...), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(ranges(s), " "); got != tt.want {
				t.Errorf("%s less %s is %s, want %s", tt.words, tt.exclude, got, tt.want)
			}
		})
	}
}

func TestNothingLeftIsAnErrorThatSaysWhy(t *testing.T) {
	tests := []struct{ name, words, exclude, says string }{
		{"no_words", "", "", "none are given"},
		{"no_words_but_exclusions", "", "10.0.0.1", "none are given"},
		{"all_excluded", "9.0.0.1", "9.0.0.0/8", "every address is excluded"},
		{"all_special", "224.0.0.0/3", "", "named outright"},
		{"all_excluded_or_special", "9.255.255.255-10.0.0.0", "9.0.0.0/8", "every address is excluded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Parse(context.Background(), Words(strings.Fields(tt.words)...), Words(strings.Fields(tt.exclude)...), nil)
			if !errors.Is(err, ErrEmpty) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("the error is %v, want ErrEmpty and %q", err, tt.says)
			}
		})
	}
}

func TestOctetListsHaveALimit(t *testing.T) {
	_, _, err := Parse(context.Background(), Words("1-254.1-254.1-254.1"), nil, nil)
	if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "16387064") {
		t.Errorf("16 million intervals: %v, want ErrTooLarge with the number", err)
	}
	// The limit is on all lists together, in exclusions as in targets.
	list := "0-127.*.0-126.0-127/31" // 128 * 256 * 127, nearly the limit
	if _, _, err = Parse(context.Background(), Words("9.9.9.9"), Words(list, "200.0-7.*.0,2,4,6,8,10,12,14,16,18,20,22,24,26,28,30,32"), nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("two lists: %v, want ErrTooLarge", err)
	}
	if _, _, err = Parse(context.Background(), Words("9.9.9.9"), Words("*.*.*.*,1"), nil); !errors.Is(err, ErrEmpty) {
		t.Errorf("a list of everything is one interval: %v, want ErrEmpty", err)
	}
}

func TestReadWords(t *testing.T) {
	const list = "\ufeff10.0.0.1  10.0.0.2\t# two\r\n" +
		"\r\n" +
		"# nothing\n" +
		"  10.0.0.0-3.1,5#octets\n" +
		"www.example.com"
	words, err := ReadWords(strings.NewReader(list), "list.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := []Word{
		{"10.0.0.1", "list.txt", 1}, {"10.0.0.2", "list.txt", 1},
		{"10.0.0.0-3.1,5", "list.txt", 4}, {"www.example.com", "list.txt", 5},
	}
	if !slices.Equal(words, want) {
		t.Errorf("words are %v, want %v", words, want)
	}
}

type brokenReader struct{ rest *strings.Reader }

var errBroken = errors.New("disk on fire")

func (b brokenReader) Read(p []byte) (int, error) {
	if n, _ := b.rest.Read(p); n > 0 {
		return n, nil
	}
	return 0, errBroken
}

func TestReadWordsNamesFileAndLineOfAnError(t *testing.T) {
	_, err := ReadWords(brokenReader{strings.NewReader("10.0.0.1\n10.0.0.2\n")}, "list.txt")
	if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "list.txt:3") {
		t.Errorf("the error is %v, want the reader's at list.txt:3", err)
	}
	_, err = ReadWords(strings.NewReader("10.0.0.1\n"+strings.Repeat("x", maxLine+1)), "core")
	if !errors.Is(err, ErrSyntax) || !strings.Contains(err.Error(), "core:2") {
		t.Errorf("the error is %v, want a syntax error at core:2", err)
	}
}

func TestLongWordsAreShortenedInErrors(t *testing.T) {
	_, _, err := Parse(context.Background(), Words(strings.Repeat("9", 100000)), nil, nil)
	if err == nil || len(err.Error()) > 300 {
		t.Errorf("the error is %d bytes long: %.100v", len(err.Error()), err)
	}
}
