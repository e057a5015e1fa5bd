//! Words of the language in any order: each script ends in output or in an error, and never in a panic.

use ireko_script::Interpreter;
use ireko_script::host::Terminal;

struct Nobody;

impl Terminal for Nobody {
    fn output(&mut self, _: &str) -> bool {
        true
    }
    fn error(&mut self, _: &str) {}
    fn ask(&mut self, _: &str) -> Option<String> {
        None
    }
}

/// Nothing that loops without an end, waits, or touches files.
const WORDS: &str = "1 0 -1 2.5 1.5d 4GB 0xFF 9223372036854775807 'a' 'b*' '[' \"$x\" \"$($x)\" '' $x $y $null $true $_ @() @(1,'b') @{a=1} \
[ordered]@{b=2} (1..3) { $_ } { param($p) $p } + - * / % .. -eq -ne -lt -like -match -replace -split -join -f -in -contains -is -as -and -or \
-not -band -bor -shl -shr ?? , ; | ( ) [0] [-1] [1,2] ['a'] .Count .Length .a .ToString() .ToString('N2') .ToUpper() .Substring(1) \
.Split(',') .PadLeft(5) .Where({$_}) .ForEach({$_}) .GetType() .Name .Add(1) .Remove(0) .Clear() .Keys .Invoke(1) .PSObject .Properties \
.AddDays(1) .Year .Insert(0,1) .IndexOf(1) .Replace('a','b') [int] [string] [double] [decimal] [datetime] [timespan] [char] [bool] [array] \
[int[]] [version] [guid] [regex] [hashtable] [pscustomobject] [type] [math]::Round(2.5) [math]::Max(1,2) [datetime]::Now [string]::Join(',',(1,2)) \
[int]::MaxValue [timespan]::MaxValue [System.Collections.ArrayList]::new() [System.Collections.Generic.List[int]]::new() [regex]::Matches('a','a') \
= += -= *= ++ -- if($x){1} foreach($i_in){} switch($x){1{2}default{3}} try{throw_1}catch{$_} function_f($q){$q} f while($false){} $x[0]=1 $x.a=1 \
Write-Output Sort-Object Select-Object -First -Property Measure-Object -Sum Group-Object ForEach-Object Where-Object ConvertTo-Json -Depth \
ConvertFrom-Json Format-Table Format-List Out-String Get-Member Add-Member New-Object Get-Variable Set-Variable Compare-Object Get-Unique \
New-TimeSpan Get-Date -Format Get-Random Select-String Join-Path Split-Path ConvertTo-Csv ConvertFrom-Csv Tee-Object -Variable Write-Host \
Write-Error Write-Warning iex & . -ErrorAction 0 Stop @x ? : $(1) ${x} `n \n";

fn next(seed: &mut u64) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    (*seed >> 11) as usize
}

fn script(words: &[&str], seed: &mut u64) -> String {
    let length = 1 + next(seed) % 12;
    let picked: Vec<String> =
        (0..length).map(|_| words[next(seed) % words.len()].replace('_', " ").replace("\\n", "\n")).collect();
    // Close by, as members are, or apart.
    let between = if next(seed).is_multiple_of(3) { "" } else { " " };
    // Without programs.
    format!(
        "$env:PATH = ''; $x = {}; $y = 'text'; {}",
        words[next(seed) % 30].replace('_', " "),
        picked.join(between)
    )
}

#[test]
fn arbitrary_scripts_end_in_output_or_an_error() {
    let cases: u64 = std::env::var("SOUP_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(4000);
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let folder = std::env::temp_dir();
    std::env::set_current_dir(folder).expect("a folder");
    for case in 1..=cases {
        let mut seed = case.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let script = script(&words, &mut seed);
        let ended = std::panic::catch_unwind(|| Interpreter::new(Box::new(Nobody)).script(&script, "", &[]));
        assert!(ended.is_ok(), "case {case}: {script}");
    }
}
