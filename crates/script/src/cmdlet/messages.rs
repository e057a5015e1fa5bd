//! Write-Host and its kin, Read-Host, Write-Progress.

use super::Cmdlet;
use super::stages::{all, each, once};
use crate::bind::Bound;
use crate::error::{ErrorRecord, Outcome};
use crate::host::Progress;
use crate::interpret::{ErrorAction, Interpreter, Sink, Stage};
use crate::types::text;
use crate::value::Value;

const MESSAGE: &str = "Message/Msg:string@0< The words.";

pub static CMDLETS: &[Cmdlet] = &[
    Cmdlet {
        name: "Write-Output",
        aliases: &["echo", "write"],
        synopsis: "Gives objects.",
        parameters: "\
InputObject:any[]@0+< The objects.
NoEnumerate:switch An array as one object.",
        make: |_, bound| Ok(Box::new(Give(bound))),
    },
    Cmdlet {
        name: "Write-Host",
        aliases: &[],
        synopsis: "Shows words; they are no output for the pipeline.",
        parameters: "\
Object/Message/Msg:any[]@0+< The words.
NoNewline:switch Without a line end.
Separator:any What stands between several.
ForegroundColor:any The colour of the words, on a terminal.
BackgroundColor:any The colour behind them, on a terminal.",
        make: |_, bound| Ok(Box::new(Host(bound))),
    },
    Cmdlet {
        name: "Write-Warning",
        aliases: &[],
        synopsis: "Shows a warning.",
        parameters: MESSAGE,
        make: |_, bound| {
            let bound = joined(bound);
            each(bound, "Message", |interpreter, _, item, _| interpreter.warn(&text(&item)))
        },
    },
    Cmdlet {
        name: "Write-Verbose",
        aliases: &[],
        synopsis: "Shows a message where -Verbose or $VerbosePreference asks for it.",
        parameters: MESSAGE,
        make: |_, bound| each(bound, "Message", |interpreter, _, item, _| interpreter.verbose(&text(&item))),
    },
    Cmdlet {
        name: "Write-Debug",
        aliases: &[],
        synopsis: "Shows a message where -Debug or $DebugPreference asks for it.",
        parameters: MESSAGE,
        make: |_, bound| each(bound, "Message", |interpreter, _, item, _| interpreter.debug(&text(&item))),
    },
    Cmdlet {
        name: "Write-Information",
        aliases: &[],
        synopsis: "Shows a message where $InformationPreference asks for it.",
        parameters: "\
MessageData/Message/Msg:any@0< The message.
Tags:string[]@1 Accepted.",
        make: |_, bound| {
            each(bound, "MessageData", |interpreter, _, item, _| {
                let said = interpreter.named("informationpreference");
                let own = interpreter.context.preferences.information;
                let action = own.or_else(|| ErrorAction::word(&text(&said)));
                let shown =
                    matches!(action, Some(ErrorAction::Continue | ErrorAction::Stop | ErrorAction::Inquire));
                interpreter.inform(&text(&item), "\n", shown)
            })
        },
    },
    Cmdlet {
        name: "Write-Error",
        aliases: &[],
        synopsis: "Shows an error.",
        parameters: "\
Message/Msg:string@0+< The words.
Exception:any The exception.
ErrorRecord:any The whole error.
ErrorId:string Its id.
Category:any Its category.
TargetObject:any What it is about.
RecommendedAction:string Accepted.
CategoryActivity/Activity:string Accepted.
CategoryReason/Reason:string Accepted.
CategoryTargetName/TargetName:string Accepted.",
        make: |_, bound| {
            let mut bound = joined(bound);
            let other = bound.item("ErrorRecord").or_else(|| bound.item("Exception")).cloned();
            if let (false, Some(other)) = (bound.has("Message"), other) {
                bound.values.push((0, other, None));
            }
            each(bound, "Message", |interpreter, bound, item, _| interpreter.report(error_of(bound, &item)))
        },
    },
    Cmdlet {
        name: "Write-Progress",
        aliases: &[],
        synopsis: "Shows how far something has come.",
        parameters: "\
Activity:string@0! What is done.
Status:string@1 How it stands.
Id:int@2 Accepted.
PercentComplete:int From 0 to 100.
SecondsRemaining:int Accepted.
CurrentOperation:string Accepted.
ParentId:int Accepted.
SourceId:int Accepted.
Completed:switch It is done.",
        make: |_, bound| {
            once(bound, |interpreter, bound, _| {
                if text(&interpreter.named("progresspreference")).eq_ignore_ascii_case("SilentlyContinue") {
                    return Ok(());
                }
                let printable =
                    |name: &str| crate::characters::printable(&bound.text(name).unwrap_or_default());
                let (activity, status) = (printable("Activity"), printable("Status"));
                let percent = bound.integer("PercentComplete").map(|percent| percent.clamp(0, 100) as u8);
                let completed = bound.switch("Completed");
                interpreter.terminal.progress(&Progress {
                    activity: &activity,
                    status: &status,
                    percent,
                    completed,
                });
                Ok(())
            })
        },
    },
    Cmdlet {
        name: "Read-Host",
        aliases: &[],
        synopsis: "Asks for a line.",
        parameters: "\
Prompt:any[]@0+ The question.
AsSecureString:switch The answer is not shown, and is a secure string.
MaskInput:switch The answer is not shown.",
        make: |_, bound| once(bound, read),
    },
    Cmdlet {
        name: "Pause",
        aliases: &[],
        synopsis: "Waits for Enter.",
        parameters: "",
        make: |_, bound| {
            once(bound, |interpreter, bound, _| {
                line(interpreter, bound, "Press Enter to continue...: ", false).map(drop)
            })
        },
    },
    Cmdlet {
        name: "Get-Credential",
        aliases: &[],
        synopsis: "Asks for a user's name and password.",
        parameters: "\
UserName/Credential:any@0 The user's name.
Message:string What it is for.
Title:string Accepted.",
        make: |_, bound| {
            once(bound, |interpreter, bound, out| {
                if let Some(message) = bound.text("Message") {
                    interpreter.inform(&message, "\n", true)?;
                }
                let user = match bound.text("UserName") {
                    Some(user) => user,
                    None => line(interpreter, bound, "User: ", false)?,
                };
                let prompt = format!("Password for user {user}: ");
                let password = line(interpreter, bound, &prompt, true)?;
                let credential = crate::value::Object::new("System.Management.Automation.PSCredential")
                    .with("UserName", user)
                    .with("Password", crate::interpret::secure(password));
                out.put(interpreter, credential.into_value())
            })
        },
    },
    Cmdlet {
        name: "Clear-Host",
        aliases: &["cls", "clear"],
        synopsis: "Clears the screen.",
        parameters: "",
        make: |_, bound| {
            once(bound, |interpreter, _, _| {
                interpreter.terminal.clear();
                Ok(())
            })
        },
    },
    Cmdlet {
        name: "Out-Null",
        aliases: &[],
        synopsis: "Takes everything and shows nothing.",
        parameters: "InputObject:any< The objects.",
        make: |_, bound| each(bound, "InputObject", |_, _, _, _| Ok(())),
    },
    Cmdlet {
        name: "Out-Host",
        aliases: &["oh"],
        synopsis: "Shows objects now.",
        parameters: "\
InputObject:any[]@0< The objects.
Paging:switch Accepted.",
        make: |_, bound| all(bound, "InputObject", show),
    },
    Cmdlet {
        name: "Out-Default",
        aliases: &[],
        synopsis: "Shows objects now.",
        parameters: "InputObject:any[]@0< The objects.",
        make: |_, bound| all(bound, "InputObject", show),
    },
];

fn show(interpreter: &mut Interpreter<'_>, _: &Bound, items: Vec<Value>, _: &mut dyn Sink) -> Outcome {
    let text = crate::format::view(interpreter, &items)?;
    interpreter.print(&text)
}

/// Words of one line are one message.
fn joined(mut bound: Bound) -> Bound {
    let words: Vec<String> = bound.texts("Message");
    if words.len() > 1
        && let Some((_, value, written)) =
            bound.values.iter_mut().find(|(_, value, _)| matches!(value, Value::Array(_)))
    {
        *value = words.join(" ").into();
        *written = None;
    }
    bound
}

struct Give(Bound);

impl Stage for Give {
    fn process(&mut self, interpreter: &mut Interpreter<'_>, item: Value, out: &mut dyn Sink) -> Outcome {
        out.put(interpreter, item)
    }

    fn alone(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        let Some(value) = self.0.item("InputObject").cloned() else { return Ok(()) };
        if self.0.switch("NoEnumerate") {
            out.put(interpreter, value)
        } else {
            interpreter.put_each(&value, out)
        }
    }
}

struct Host(Bound);

impl Stage for Host {
    fn process(&mut self, interpreter: &mut Interpreter<'_>, item: Value, _: &mut dyn Sink) -> Outcome {
        let words = match &item {
            Value::Map(_) | Value::Object(_) => vec![text(&item)],
            other => other.elements().iter().map(text).collect(),
        };
        self.say(interpreter, &words)
    }

    fn alone(&mut self, interpreter: &mut Interpreter<'_>, _: &mut dyn Sink) -> Outcome {
        let words = self.0.texts("Object");
        self.say(interpreter, &words)
    }
}

impl Host {
    fn say(&self, interpreter: &mut Interpreter<'_>, words: &[String]) -> Outcome {
        let between = self.0.item("Separator").map_or_else(|| " ".into(), text);
        let end = if self.0.switch("NoNewline") { "" } else { "\n" };
        let style = if interpreter.terminal.is_screen() { self.style() } else { String::new() };
        interpreter.inform_in_style(&words.join(&between), end, true, &style)
    }

    /// The sequence of the terminal's colours (ECMA-48, SGR).
    fn style(&self) -> String {
        const COLORS: [(&str, u8); 16] = [
            ("Black", 30),
            ("DarkRed", 31),
            ("DarkGreen", 32),
            ("DarkYellow", 33),
            ("DarkBlue", 34),
            ("DarkMagenta", 35),
            ("DarkCyan", 36),
            ("Gray", 37),
            ("DarkGray", 90),
            ("Red", 91),
            ("Green", 92),
            ("Yellow", 93),
            ("Blue", 94),
            ("Magenta", 95),
            ("Cyan", 96),
            ("White", 97),
        ];
        let code = |name: &str, more: u8| {
            let said = self.0.text(name)?;
            let found = COLORS.iter().find(|(own, _)| own.eq_ignore_ascii_case(&said))?;
            Some(format!("\x1b[{}m", found.1 + more))
        };
        code("ForegroundColor", 0).unwrap_or_default() + &code("BackgroundColor", 10).unwrap_or_default()
    }
}

fn error_of(bound: &Bound, item: &Value) -> ErrorRecord {
    let id =
        bound.text("ErrorId").unwrap_or_else(|| "Microsoft.PowerShell.Commands.WriteErrorException".into());
    let category = bound.text("Category").unwrap_or_else(|| "NotSpecified".into());
    let record = match (item, bound.item("ErrorRecord"), bound.item("Exception")) {
        (Value::Error(record), ..) | (_, Some(Value::Error(record)), _) => return (**record).clone(),
        (_, _, Some(Value::Exception(exception))) | (Value::Exception(exception), ..) => {
            ErrorRecord { exception: exception.clone(), ..ErrorRecord::runtime(&id, "") }
        }
        (message, ..) => ErrorRecord::runtime(&id, text(message))
            .of_type("Microsoft.PowerShell.Commands.WriteErrorException"),
    };
    let record = ErrorRecord { activity: "Write-Error".into(), ..record.in_category(&category) };
    match bound.item("TargetObject") {
        Some(target) => record.about(target.clone()),
        None => record,
    }
}

fn line(interpreter: &mut Interpreter<'_>, bound: &Bound, prompt: &str, secret: bool) -> Outcome<String> {
    let prompt = crate::characters::printable(prompt);
    let line = if secret {
        interpreter.terminal.read_secret(&prompt)
    } else {
        interpreter.terminal.read_line(&prompt)
    };
    line.ok_or_else(|| {
        // A script that asks again and again would never end.
        let message = "There is nobody to ask: the input has ended.";
        let record = bound.refuse("InvalidOperation", message).in_category("InvalidOperation");
        ErrorRecord { ends_script: true, ..record }
            .of_type("System.Management.Automation.PSInvalidOperationException")
            .into()
    })
}

fn read(interpreter: &mut Interpreter<'_>, bound: &Bound, out: &mut dyn Sink) -> Outcome {
    let words = bound.texts("Prompt");
    let prompt = if words.is_empty() { String::new() } else { words.join(" ") + ": " };
    let secure = bound.switch("AsSecureString");
    let said = line(interpreter, bound, &prompt, secure || bound.switch("MaskInput"))?;
    let value = if secure { crate::interpret::secure(said) } else { said.into() };
    out.put(interpreter, value)
}
