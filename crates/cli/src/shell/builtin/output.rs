//! Write-Output and its kin, Out-Null, Out-File, and small things of every shell.

use super::{Builtin, Call, Words, any};
use crate::shell::fault::{Fault, Flow};
use crate::shell::item::Item;
use crate::shell::session::Session;
use crate::shell::show;
use ireko_manage::operation::parameter::{int, path, switch, text};
use ireko_manage::{Parameter, Value};
use std::io::Write;
use std::time::{Duration, Instant};

type Items = Result<Vec<Item>, Flow>;

const INPUT: Parameter =
    any("InputObject", "The objects; usually they come through the pipeline.").many().at(0);
const MESSAGE: Parameter = any("Message", "The words.").alias(&["Object", "Msg"]).many().at(0);

const fn builtin(
    name: &'static str,
    aliases: &'static [&'static str],
    doc: &'static str,
    parameters: &'static [Parameter],
    run: fn(&mut Session<'_>, &Call) -> Items,
) -> Builtin {
    Builtin { name, aliases, doc, parameters, words: Words::Parameters, run }
}

/// One whose words are all for its first parameter.
const fn writer(
    name: &'static str,
    aliases: &'static [&'static str],
    doc: &'static str,
    parameters: &'static [Parameter],
    run: fn(&mut Session<'_>, &Call) -> Items,
) -> Builtin {
    Builtin { name, aliases, doc, parameters, words: Words::Rest, run }
}

pub static BUILTINS: &[Builtin] = &[
    writer(
        "Write-Output",
        &["echo", "write"],
        "Gives objects.",
        &[INPUT, switch("NoEnumerate", "Accepted.")],
        give,
    ),
    writer(
        "Write-Host",
        &[],
        "Shows words; they are no output for the pipeline.",
        &[
            MESSAGE,
            switch("NoNewline", "Without a line end."),
            text("Separator", "What stands between several."),
            text("ForegroundColor", "Accepted."),
            text("BackgroundColor", "Accepted."),
        ],
        host,
    ),
    writer("Write-Warning", &[], "Shows a warning.", &[MESSAGE], |session, call| {
        session.warn(&words(call, " "));
        Ok(Vec::new())
    }),
    writer("Write-Error", &[], "Shows an error.", &[MESSAGE], |session, call| {
        let fault = Fault {
            category: "NotSpecified".into(),
            exception: "WriteErrorException",
            id: "Microsoft.PowerShell.Commands.WriteErrorException".into(),
            ..call.fault("WriteErrorException", words(call, " "))
        };
        session.report(fault).map(|()| Vec::new())
    }),
    writer(
        "Write-Verbose",
        &[],
        "Says nothing: verbose messages are off.",
        &[MESSAGE],
        |_, _| Ok(Vec::new()),
    ),
    writer("Write-Debug", &[], "Says nothing: debug messages are off.", &[MESSAGE], |_, _| Ok(Vec::new())),
    builtin("Out-Null", &[], "Takes everything and shows nothing.", &[INPUT], |_, _| Ok(Vec::new())),
    builtin("Out-Host", &["oh"], "Shows objects now.", &[INPUT], |session, call| {
        let text = show::default_view(&call.objects("InputObject"));
        session.print(&text).map(|()| Vec::new())
    }),
    builtin("Out-Default", &[], "Shows objects now.", &[INPUT], |session, call| {
        let text = show::default_view(&call.objects("InputObject"));
        session.print(&text).map(|()| Vec::new())
    }),
    builtin(
        "Out-File",
        &[],
        "Writes what would be shown to a file.",
        &[
            path("FilePath", "The file.").alias(&["Path"]).at(0).required(),
            switch("Append", "After what is there."),
            text("Encoding", "Accepted; it is UTF-8."),
            any("InputObject", "The objects; usually they come through the pipeline."),
        ],
        file,
    ),
    builtin(
        "Start-Sleep",
        &["sleep"],
        "Waits.",
        &[
            any("Seconds", "How long; a fraction is allowed.").at(0),
            int("Milliseconds", 0, i64::MAX, "How long, in thousandths of a second.").alias(&["ms"]),
        ],
        sleep,
    ),
    builtin("Clear-Host", &["cls", "clear"], "Clears the screen.", &[], |session, _| {
        session.terminal.clear();
        Ok(Vec::new())
    }),
    builtin("Get-Date", &[], "Gives the time.", &[text("Format", "Accepted.")], |_, _| {
        Ok(vec![Item::Value(Value::Time(ireko_manage::host::now()))])
    }),
    builtin("Read-Host", &[], "Asks for a line.", &[text("Prompt", "The question.").at(0)], ask),
];

fn give(_: &mut Session<'_>, call: &Call) -> Items {
    Ok(call.objects("InputObject").into_iter().map(typed).collect())
}

/// A number that was typed as a word is a number.
fn typed(item: Item) -> Item {
    if let Item::Written(value, _) = item { Item::Value(value) } else { item }
}

/// Words of one line stand beside each other, objects of the pipeline below.
fn words(call: &Call, between: &str) -> String {
    let between = if call.input.is_some() { "\n" } else { between };
    call.objects("Message").iter().map(Item::text).collect::<Vec<_>>().join(between)
}

fn host(session: &mut Session<'_>, call: &Call) -> Items {
    let between = call.bound.text("Separator").unwrap_or_else(|| " ".into());
    let end = if call.bound.switch("NoNewline") { "" } else { "\n" };
    let text: Vec<String> = words(call, &between).split('\n').map(ireko_manage::render::printable).collect();
    session.print(&(text.join("\n") + end)).map(|()| Vec::new())
}

fn file(_: &mut Session<'_>, call: &Call) -> Items {
    let path = call.bound.text("FilePath").unwrap_or_default();
    let text = show::default_view(&call.objects("InputObject"));
    write_file("Out-File", &path, &text, call.bound.switch("Append"))?;
    Ok(Vec::new())
}

pub fn write_file(cmdlet: &'static str, path: &str, text: &str, append: bool) -> Result<(), Fault> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).write(true).append(append).truncate(!append);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Fault {
        category: "OpenError".into(),
        target: Some(Box::new((path.into(), "String".into()))),
        ..Fault::builtin(cmdlet, "FileOpenFailure", format!("Could not write to '{path}': {error}."))
    })
}

fn sleep(session: &mut Session<'_>, call: &Call) -> Items {
    let number = |name: &str| {
        call.bound.item(name).map(|item| crate::shell::operate::cast("double", item.clone())).transpose()
    };
    let seconds = match (number("Seconds")?, number("Milliseconds")?) {
        (Some(Item::Value(Value::Float(seconds))), _) => seconds,
        (_, Some(Item::Value(Value::Float(thousandths)))) => thousandths / 1000.0,
        _ => return Err(call.fault("MissingMandatoryParameter", "Say how long: Start-Sleep 5.").into()),
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) => wait(session, duration)?,
        Err(_) => {
            let message =
                format!("Cannot validate argument on parameter 'Seconds'. {seconds} is no time to wait.");
            return Err(call.fault("ParameterArgumentValidationError", message).into());
        }
    }
    Ok(Vec::new())
}

/// In small pieces, so that Ctrl-C ends it.
fn wait(session: &Session<'_>, duration: Duration) -> Result<(), Flow> {
    const PIECE: Duration = Duration::from_millis(50);
    let since = Instant::now();
    while let Some(left) = duration.checked_sub(since.elapsed()).filter(|left| !left.is_zero()) {
        session.heed()?;
        std::thread::sleep(left.min(PIECE));
    }
    Ok(())
}

fn ask(session: &mut Session<'_>, call: &Call) -> Items {
    let prompt = call.bound.text("Prompt").map_or(String::new(), |prompt| prompt + ": ");
    match session.terminal.ask(&prompt) {
        Some(line) => Ok(vec![line.into()]),
        None => Err(call.fault("InvalidOperation", "There is nobody to ask.").into()),
    }
}
