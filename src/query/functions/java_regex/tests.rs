//! What patterns match, as `java.util.regex` of Java 17 does.

use super::*;

fn pattern(java: &str) -> Pattern {
    Pattern::new(java).unwrap_or_else(|fault| panic!("{java}: {fault}"))
}

/// All matches.
fn found<'t>(java: &str, text: &'t str) -> Vec<&'t str> {
    let mut matches = pattern(java).matches(text).unwrap();
    let mut all = Vec::new();
    while matches.advance() {
        all.extend(matches.group(0));
    }
    all
}

/// Where the matches are.
fn places(java: &str, text: &str) -> Vec<(usize, usize)> {
    let mut matches = pattern(java).matches(text).unwrap();
    let mut all = Vec::new();
    while matches.advance() {
        all.push((matches.range().start, matches.range().end));
    }
    all
}

fn matches(java: &str, text: &str) -> bool {
    pattern(java).is_match(text).unwrap()
}

fn fault(java: &str) -> String {
    Pattern::new(java).map(|_| ()).expect_err(java).to_string()
}

#[test]
fn classes_are_of_ascii() {
    assert!(matches(r"^\d+$", "123"));
    assert!(!matches(r"^\d+$", "١٢"));
    assert!(!matches(r"\w", "é"));
    assert!(matches(r"^[\W]$", "é"));
    assert!(matches(r"^[^\w]$", "é"));
    assert!(matches(r"^[\D\S]$", "\u{a0}"));
    assert!(!matches(r"\s", "\u{a0}"));
    assert!(matches(r"\h", "\u{a0}"));
    assert!(matches(r"^\v$", "\u{2028}") && !matches(r"^\V$", "\u{b}"));
    for (name, inside, outside) in [
        ("Lower", "az", "Aß1"),
        ("Upper", "AZ", "aÉ"),
        ("ASCII", "a\u{7f}", "é"),
        ("Alpha", "azAZ", "1é"),
        ("Digit", "09", "a٣"),
        ("Alnum", "aZ0", "é_"),
        ("Punct", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "a1 §"),
        ("Graph", "a!~", " é"),
        ("Print", "a! ~", "\té"),
        ("Blank", " \t", "\n\u{a0}"),
        ("Cntrl", "\u{0}\u{1f}\u{7f}", "a\u{85}"),
        ("XDigit", "09afAF", "gG"),
        ("Space", " \t\n\u{b}\u{c}\r", "\u{a0}"),
    ] {
        let own = pattern(&format!(r"\A\p{{{name}}}\z"));
        let nested = pattern(&format!(r"\A[\p{{{name}}}]\z"));
        let other = pattern(&format!(r"\A\P{{{name}}}\z"));
        for c in inside.chars().map(String::from) {
            assert!(own.is_match(&c).unwrap() && nested.is_match(&c).unwrap(), "{name} {c:?}");
            assert!(!other.is_match(&c).unwrap(), "{name} {c:?}");
        }
        for c in outside.chars().map(String::from) {
            assert!(!own.is_match(&c).unwrap() && !nested.is_match(&c).unwrap(), "{name} {c:?}");
            assert!(other.is_match(&c).unwrap(), "{name} {c:?}");
        }
    }
}

#[test]
fn properties_of_unicode_have_javas_names() {
    for name in
        ["Lu", "L", "IsL", "IsLatin", "IsAlphabetic", "sc=Latin", "gc=Lu", "LC", "javaUpperCase", "L1"]
    {
        assert!(matches(&format!(r"^\p{{{name}}}$"), "É"), "{name}");
    }
    assert!(matches(r"\pL", "é") && matches(r"\PL", "1"));
    for name in ["Letter", "latin", "InGreek", "IsNothing", "Foo", "Cs"] {
        assert!(fault(&format!(r"\p{{{name}}}")).starts_with("there is no such property"), "{name}");
    }
}

#[test]
fn the_end_is_also_before_a_last_line_terminator() {
    for end in ["", "\n", "\r\n", "\r", "\u{85}", "\u{2028}", "\u{2029}"] {
        let text = format!("ab{end}");
        for java in ["ab$", r"ab\Z", "(?:x|ab$)", "ab$$", "a(b$|c)", "^ab$", "[^,]b$"] {
            assert!(matches(java, &text), "{java} {text:?}");
        }
        assert_eq!(matches(r"ab\z", &text), end.is_empty());
        assert!(!matches("a$", &text) && !matches("ab$", &format!("{text}\nx")), "{text:?}");
        assert_eq!(matches("ab$", &format!("ab\n{end}")), end.is_empty(), "{text:?}");
    }
    // The last terminator can be matched itself, and the longest match takes it.
    assert_eq!(found("[^,]*$", "ab\n"), ["ab\n", ""]);
    assert_eq!(found("[^,]*?$", "ab\n"), ["ab", "", ""]);
    assert_eq!(found(".*$", "ab\n"), ["ab", "", ""]);
    assert_eq!(found(r"ab$\n", "ab\n"), ["ab\n"]);
    assert_eq!(found(r"\w+$\s*\z", "ab\r\n"), ["ab\r\n"]);
    assert_eq!(found(r"ab$\r\n", "ab\r\n"), ["ab\r\n"]);
    assert_eq!(found(r"ab$\R", "ab\r\n"), ["ab\r\n"]);
    assert_eq!(found(r"\R+", "a\r\n\nb\u{2028}"), ["\r\n\n", "\u{2028}"]);
    assert_eq!(found(r"b\R?$", "ab\r\n"), ["b\r\n"]);
    // Not between \r and \n.
    assert_eq!(found(r"[a-z\r]*$", "ab\r\n")[0], "ab");
    assert_eq!(places("$", "ab\r\n"), [(2, 2), (4, 4)]);
    assert_eq!(places("$", "é\u{2028}"), [(2, 2), (5, 5)]);
    assert_eq!(places("$", ""), [(0, 0)]);
    // Characters that stand in for the terminator are the text's own as well.
    assert!(matches("^\u{1}\\x02$", "\u{1}\u{2}\n"));
    assert!(
        !matches(r"ab[\x00-\x08]$", "ab\n") && !matches(r"ab\x01", "ab\n") && !matches(r"ab\cA?x$", "ab\n")
    );
    assert!(matches(r"ab$[^\x01]\z", "ab\n") && !matches(r"ab[^\n]", "ab\n"));
    assert!(matches(r"ab\b$", "ab\n") && matches(r"ab!\B$", "ab!\n") && !matches(r"ab\B$", "ab\n"));
}

#[test]
fn a_dot_matches_no_line_terminator() {
    for c in ["\n", "\r", "\u{85}", "\u{2028}", "\u{2029}"] {
        assert!(!matches(r"\A.\z", c) && matches(r"(?s)\A.\z", c) && matches(r"(?s:.)\z", c), "{c:?}");
    }
    assert!(matches(r"\A.\z", "\u{b}"));
    assert_eq!(found("^(.*)", "abc\r\n"), ["abc"]);
}

#[test]
fn lines_are_javas() {
    assert_eq!(found("(?m)^.*$", "a\nb\r\nc"), ["a", "b", "c"]);
    assert_eq!(places("(?m)$", "a\r\nb\n"), [(1, 1), (4, 4), (5, 5)]);
    // A line does not start at the end of the text.
    assert_eq!(places("(?m)^", "a\n\nb\n"), [(0, 0), (2, 2), (3, 3)]);
    assert_eq!(places("(?m)^", ""), []);
    assert_eq!(places("(?m)$", ""), [(0, 0)]);
    assert_eq!(found("(?m:^b$)$", "a\nb\n"), ["b"]);
    assert!(pattern("(?m)^a").is_match("a\u{2028}").is_err());
    assert!(matches("(?-m)^a$", "a\u{2028}"));
}

#[test]
fn matches_follow_one_another_as_javas_find_gives_them() {
    assert_eq!(places("b*", "abc"), [(0, 0), (1, 2), (2, 2), (3, 3)]);
    assert_eq!(places("x*", "é"), [(0, 0), (2, 2)]);
    assert_eq!(places("", "ab"), [(0, 0), (1, 1), (2, 2)]);
    assert_eq!(places(r"\b", "ab"), [(0, 0), (2, 2)]);
    assert_eq!(places("^a", "aa"), [(0, 1)]);
}

#[test]
fn escapes_are_javas() {
    for (java, text) in [
        (r"\<b\>", "<b>"),
        (r"\Qa.b\E+", "a.bb"),
        (r"\Q[x", "[x"),
        (r"[\Q]^\E]{2}", "]^"),
        (r"\t\x41\u00e9\x{1F600}\uD83D\uDE00\0101\e\cA", "\tAé😀😀A\u{1b}\u{1}"),
        (r"a\_\-\ \é\/", "a_- é/"),
        ("]}", "]}"),
        (r"[]a]+", "a]"),
        (r"[a\-z]+", "-"),
        ("[a-]-[-z]", "--z"),
        ("[&~#]+", "&~#"),
        ("[a-c[x-z]]+", "bx"),
        ("[a-z&&[^b]]", "c"),
        ("[a-z&&b-y&&c]", "c"),
        (r"[^\n&&\s]", "x"),
        ("(?i)straSSE", "STRAsse"),
        ("(?i)[b-c]x", "BX"),
        ("(?iu)é", "É"),
        ("(?x) a b # c\n [ d e ]", "abe"),
        ("(?<n1>a)(?:b)(?i:C)d", "abcd"),
        ("a{2}b{1,}c{0,2}?", "aab"),
    ] {
        assert!(matches(java, text), "{java} {text:?}");
    }
    for (java, text) in
        [("[a-z&&[^b]]", "b"), ("(?i)é", "É"), ("(?i)k", "\u{212a}"), ("(?i:a)b", "AB"), (r"[\W]", "_")]
    {
        assert!(!matches(java, text), "{java} {text:?}");
    }
}

#[test]
fn groups_that_match_something_are_repeated() {
    for java in
        ["(a*b)+", "(?:a|b)*", "(a*)?", "(a*){0,1}", "(?:a(b*)?)+", r"(\Qa\E)*", "(a{1,2})*", "(?:a*){1}"]
    {
        assert!(matches(&format!(r"\A{java}"), "ab"), "{java}");
    }
}

#[test]
fn what_java_or_this_does_not_read_is_a_fault() {
    for (java, what) in [
        ("(?<=price: )x", "look-behind is not supported, at character 3"),
        ("(?<!a)b", "look-behind is not supported, at character 3"),
        ("a(?=b)", "look-ahead is not supported, at character 4"),
        ("a(?!b)", "look-ahead is not supported, at character 4"),
        (r"(a)\1", "back-references are not supported, at character 5"),
        (r"(?<x>a)\k<x>", "back-references are not supported, at character 9"),
        ("(?>a)", "atomic groups are not supported, at character 3"),
        ("a*+", "possessive quantifiers are not supported, at character 3"),
        ("(?d)a", "the flag d is not supported, at character 3"),
        ("(?U)a", "the flag U is not supported, at character 3"),
        ("(?P<x>a)", "there is no group of this kind, at character 3"),
        ("[", "a class is not closed, at character 1"),
        ("[[]", "a class is not closed, at character 3"),
        ("[z-a]", "a range runs backwards, at character 4"),
        (r"[\b]", "there is no such escape, at character 3"),
        ("(a", "a group is not closed, at character 2"),
        ("a)", "it closes a group that is not open, at character 2"),
        ("*a", "a quantifier has nothing before it, at character 1"),
        ("a**", "a quantifier has nothing before it, at character 3"),
        ("a{,3}", "a quantifier is not complete, at character 2"),
        ("a{3,2}", "a quantifier runs backwards, at character 5"),
        (r"a\y", "there is no such escape, at character 3"),
        ("a\\", "it ends with a backslash, at character 2"),
        (r"\G", r"\G is not supported, at character 2"),
        (r"a{100000}{1}", "a quantifier has nothing before it, at character 10"),
        (r"(\pL{1000}){1000}", "it is too large"),
        ("(a*)+", "a repeated group that can match nothing is not supported, at character 5"),
        ("(?:a|b?){2}", "a repeated group that can match nothing is not supported, at character 11"),
        (r"(^|\b)*", "a repeated group that can match nothing is not supported, at character 7"),
        (r"\R+a", r"\R is repeated only at the end of a pattern, by * or +, at character 3"),
        (r"(\R+)", r"\R is repeated only at the end of a pattern, by * or +, at character 4"),
        (r"\R{2}", r"\R is repeated only at the end of a pattern, by * or +, at character 5"),
        (r"a\Q\E+", r"there is nothing between \Q and \E, at character 5"),
    ] {
        assert_eq!(fault(java), what, "{java}");
    }
}
