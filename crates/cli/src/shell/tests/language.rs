//! The language without VMs.

use super::{World, says};
use proptest::prelude::*;

#[test]
fn values_are_what_powershell_makes_of_them() {
    for (script, out) in [
        ("4GB", "4294967296\n"),
        ("0x10Gb", "17179869184\n"),
        ("1.5kb", "1536\n"),
        ("0x1F", "31\n"),
        ("1e3", "1000\n"),
        ("-5 + 2", "-3\n"),
        ("2 + 3 * 4", "14\n"),
        ("7 / 2", "3.5\n"),
        ("8 / 2", "4\n"),
        ("7 % 4", "3\n"),
        ("'a' + 1", "a1\n"),
        ("1 + '2'", "3\n"),
        ("'ab' * 2", "abab\n"),
        ("(@() * 0x7fffffffffffffff).Count", "0\n"),
        ("(1,2) + 3", "1\n2\n3\n"),
        ("1..3", "1\n2\n3\n"),
        ("3..1", "3\n2\n1\n"),
        ("9223372036854775807 + 1 -gt 0", "True\n"),
        ("$true", "True\n"),
        ("$null", ""),
        ("-not $true", "False\n"),
        ("!0", "True\n"),
        ("'A' -eq 'a'", "True\n"),
        ("'A' -ceq 'a'", "False\n"),
        ("1,2,3 -gt 1", "2\n3\n"),
        ("'b' -in 'a','B'", "True\n"),
        ("'abc' -like 'A*'", "True\n"),
        ("'abc' -match '^a(.)'; $Matches[1]", "True\nb\n"),
        ("'a-b' -replace '-', '+'", "a+b\n"),
        ("'a,b' -split ',' -join ';'", "a;b\n"),
        ("'{0:N1} {1,4}|' -f 1234.56, 'x'", "1,234.6    x|\n"),
        ("10 -gt '9'", "True\n"),
        ("'10' -gt 9", "False\n"),
        ("$true -and (1 -eq 1) -and 'x'", "True\n"),
        ("[int]'7' + 1", "8\n"),
        ("[math]::Round(2.567, 1)", "2.6\n"),
        ("'abc'.Length; 'abc'.ToUpper()", "3\nABC\n"),
        ("(1,2,3)[-1]; (1,2,3)[0,1]", "3\n1\n2\n"),
        ("@(1).Count; @().Count; $null.Count", "1\n0\n0\n"),
        ("@{ a = 1; b = 'x' }.B", "x\n"),
        ("$h = @{}; $h.x = 1; $h['y'] = 2; $h.Count; $h.y", "2\n2\n"),
        ("$a, $b = 1, 2, 3; \"$a|$b\"", "1|2 3\n"),
        ("$i = 1; $i += 2; $i++; $i", "4\n"),
    ] {
        assert_eq!(says(script), out, "{script}");
    }
}

#[test]
fn text_takes_in_variables_and_expressions() {
    for (script, out) in [
        ("$x = 5; \"a $x b\"", "a 5 b\n"),
        ("$x = 5; 'a $x b'", "a $x b\n"),
        ("$x = 5; \"a `$x b\"", "a $x b\n"),
        ("\"$(1 + 2)\"", "3\n"),
        ("$h = @{ Name = 'n' }; \"$($h.Name) $h.Name\"", "n System.Collections.Hashtable.Name\n"),
        ("\"say \"\"hi\"\"\"", "say \"hi\"\n"),
        ("'it''s'", "it's\n"),
        ("\"tab`tend\"", "tab\u{fffd}end\n"),
        ("\u{201c}curly\u{201d}", "curly\n"),
        ("\u{201e}low\"", "low\n"),
        ("\u{2018}single\u{2019}", "single\n"),
        ("\"$(\"in\" + \"side\")\"", "inside\n"),
        ("@\"\nline $(1)\n\"@", "line 1\n"),
        ("@'\n$x\n'@", "$x\n"),
        ("\"costs 5$\"", "costs 5$\n"),
        ("\"${env:NOT_THERE}x\"", "x\n"),
    ] {
        assert_eq!(says(script), out, "{script}");
    }
}

#[test]
fn statements_choose_and_repeat() {
    for (script, out) in [
        ("if (1 -eq 2) { 'a' } elseif (2) { 'b' } else { 'c' }", "b\n"),
        ("if ($false) { 'a' }\nelse { 'c' }", "c\n"),
        ("foreach ($i in 1..3) { if ($i -eq 2) { continue }; $i }", "1\n3\n"),
        ("for ($i = 0; $i -lt 3; $i++) { $i }", "0\n1\n2\n"),
        ("$i = 0; while ($true) { $i++; if ($i -gt 2) { break } }; $i", "3\n"),
        ("$i = 0; do { $i++ } until ($i -ge 3); $i", "3\n"),
        ("$x = if ($true) { 'yes' }; $x", "yes\n"),
        ("try { throw 'bad' } catch { \"caught $_\" } finally { 'end' }", "caught bad\nend\n"),
        ("try { Nope } catch { $_.FullyQualifiedErrorId }", "CommandNotFoundException\n"),
        ("function Twice { param($x) $x * 2 }; Twice 4; Twice -x 5", "8\n10\n"),
        ("function F { return 1; 2 }; F", "1\n"),
        ("& { param($a) $a } 7", "7\n"),
        ("1,2 | % { $_ * 2 }", "2\n4\n"),
        ("1 | ForEach-Object { 'x' } # comment\n<# long\ncomment #> 'y'", "x\ny\n"),
        ("'a' |\n  % { $_ + 'b' }", "ab\n"),
        ("Write-Output a `\n b", "a\nb\n"),
        ("1\n| % { $_ + 1 }", "2\n"),
    ] {
        assert_eq!(says(script), out, "{script}");
    }
}

#[test]
fn words_of_arguments_are_text_or_numbers() {
    for (script, out) in [
        ("Write-Output a-b c=d 1.2.3.4", "a-b\nc=d\n1.2.3.4\n"),
        ("$x = 1; Write-Output vm-$x \"$x\"y $x/z", "vm-1\n1\ny\n1/z\n"),
        ("Write-Output 007", "7\n"),
        ("Write-Output a,b, c", "a\nb\nc\n"),
        ("Write-Output (1+1) $(2+2)", "2\n4\n"),
        ("$l = 'p','q'; Write-Output @l", "p\nq\n"),
    ] {
        assert_eq!(says(script), out, "{script}");
    }
}

#[test]
fn a_script_takes_arguments_by_name_and_position() {
    let world = World::new(&[]);
    let script = "param([string]$Name = 'none', [switch]$Big, $Other)\n\"$Name $Big $Other\"";
    let run = |words: &[&str]| world.asked(false, &[], script, words).out;
    assert_eq!(run(&["-Name", "x", "-Big", "y"]), "x True y\n");
    assert_eq!(run(&["p", "q"]), "p False q\n");
    assert_eq!(run(&["-Big:$false"]), "none False \n");
    assert_eq!(world.asked(false, &[], "$args[1]", &["a", "b"]).out, "b\n");
}

#[test]
fn exit_codes_say_how_it_went() {
    let world = World::new(&[]);
    for (script, code) in [
        ("exit 3", 3),
        ("1; exit", 0),
        ("Nope", 1),
        ("Nope; exit", 1),
        ("Get-VM nope -ErrorAction SilentlyContinue", 0),
        ("Get-VM nope 2>$null", 0),
        ("try { throw 1 } catch { }", 0),
        ("throw 'x'; 'never'", 1),
        ("'unfinished", 1),
    ] {
        assert_eq!(world.run(script).code, code, "{script}");
    }
}

#[test]
fn an_error_ends_the_statement_and_not_the_script() {
    let world = World::new(&[]);
    assert_eq!(world.run("Nope; 'after'").out, "after\n");
    assert_eq!(world.run("$ErrorActionPreference = 'Stop'; Nope; 'after'").out, "");
    assert_eq!(world.run("Get-VM nope -ErrorAction Stop; 'after'").out, "");
    assert_eq!(world.run("Get-VM nope -EA Stop; 'after'").code, 1);
    assert_eq!(world.run("Get-VM nope -ea 0; $?").out, "False\n");
    assert_eq!(
        world.run("Get-VM nope -ea SilentlyContinue; $?; $Error[0].Exception.Message").out,
        "False\nHyper-V was unable to find a virtual machine with name \"nope\".\n"
    );
    assert_eq!(world.run("Get-VM nope -ErrorVariable e -ea Ignore; $e.Count").out, "1\n");
}

#[test]
fn what_has_no_sense_is_an_error_with_a_name() {
    let world = World::new(&[]);
    for (script, text) in [
        ("1 / 0", "Attempted to divide by zero."),
        ("'x' * 99999999999", "The result would have more than"),
        ("1..99999999999", "The result would have more than"),
        ("'a' -match '('", "The pattern '(' is not valid"),
        ("$null[0]", "Cannot index into a null array."),
        ("[nope]1", "Unable to find type [nope]."),
        ("'x'.Nope()", "Method invocation failed because [String] does not contain a method named 'Nope'."),
        ("function F { F }; F", "The script failed due to call depth overflow."),
        ("$true = 1", "Cannot overwrite variable true because it is read-only or constant."),
        ("5 = 1", "The assignment expression is not valid."),
        ("Get-VM & Get-VM", "Running a pipeline in the background by '&' is not supported"),
        ("Get-VM | 5", "Expressions are only allowed as the first element of a pipeline."),
        ("class A { }", "The keyword 'class' is not supported here"),
    ] {
        let error = world.error(script);
        assert!(error.starts_with(text), "{script}: {error}");
    }
}

/// Words of expressions and of cmdlets that touch nothing; no loops without an end.
const SOUP: [&str; 44] = [
    "1",
    "0",
    "-1",
    "4GB",
    "0x7fffffffffffffff",
    "1.5",
    "'a'",
    "'b*'",
    "'['",
    "\"$x\"",
    "$x",
    "$null",
    "$true",
    "$_",
    "@()",
    "@(1,'b')",
    "@{ a = 1 }",
    "(1..3)",
    "{ $_ }",
    "+",
    "-",
    "*",
    "/",
    "%",
    "..",
    "-eq",
    "-lt",
    "-like",
    "-match",
    "-f",
    "-join",
    "-split",
    "-replace",
    "-in",
    "-and",
    "-not",
    ",",
    "[0]",
    ".Count",
    ".a",
    "| % { $_ }",
    "| Sort-Object",
    "| Measure-Object -Sum",
    "| Select-Object a",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_expressions_give_something_or_an_error(picks in prop::collection::vec(0..SOUP.len(), 1..12)) {
        let words: Vec<&str> = picks.iter().map(|&at| SOUP[at]).collect();
        let said = EMPTY.with(|world| world.run(&format!("$x = {0}; {0}", words.join(" "))));
        prop_assert!(said.code == 0 || !said.err.is_empty());
    }
}

thread_local! {
    static EMPTY: World = World::new(&[]);
}
