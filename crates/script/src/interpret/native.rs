//! Programs of this system as commands (about_Command_Syntax): their lines are output, their exit code is `$LASTEXITCODE`.

use super::{Destination, Interpreter, Sink, Stage, automatic};
use crate::bind::Argument;
use crate::error::{ErrorRecord, Flow, Outcome};
use crate::types::text;
use crate::value::Value;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Where a program lies: by its path, or in the folders of PATH.
pub fn program(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runs = |path: &Path| {
        path.metadata().is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
    };
    if name.contains(['/', '\\']) {
        let path = PathBuf::from(super::files::native(name));
        return runs(&path).then_some(path);
    }
    let folders = text(&super::variable::environment("path"));
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| runs(path))
}

pub struct Native {
    path: PathBuf,
    arguments: Vec<String>,
    input: Vec<String>,
}

impl Native {
    pub fn new(path: PathBuf, arguments: Vec<Argument>) -> Self {
        let mut words = Vec::new();
        for argument in arguments {
            match argument {
                Argument::Value { value, written } => match (written, &value) {
                    (Some(written), _) if !written.contains('\0') => words.push(written.to_string()),
                    (_, Value::Array(array)) => words.extend(array.items().iter().map(text)),
                    (_, value) if value.is_null() => {}
                    (_, value) => words.push(text(value)),
                },
                Argument::Named { typed, value, .. } => match value {
                    None => words.push(typed.to_string()),
                    Some((value, written)) => words.push(format!(
                        "{typed}{}",
                        written.map_or_else(|| text(&value), |written| written.to_string())
                    )),
                },
            }
        }
        Self { path, arguments: words, input: Vec::new() }
    }

    /// The program, and where its output comes from if it does not go to the screen.
    fn start(
        &self,
        input: bool,
        to_screen: bool,
        errors: &Destination,
    ) -> io::Result<(Child, Option<PipeReader>)> {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        command.stdin(if input { Stdio::piped() } else { Stdio::inherit() });
        for (name, value) in automatic::changed_environment() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut output = None;
        if !to_screen {
            let (reader, writer) = io::pipe()?;
            if let Destination::Merged(_) = errors {
                command.stderr(writer.try_clone()?);
            }
            command.stdout(writer);
            output = Some(reader);
        }
        match errors {
            Destination::Nowhere => {
                command.stderr(Stdio::null());
            }
            Destination::File(path) => {
                command.stderr(OpenOptions::new().create(true).append(true).open(&**path)?);
            }
            Destination::Host | Destination::Merged(_) => {}
        }
        Ok((command.spawn()?, output))
    }

    fn run(
        &mut self,
        interpreter: &mut Interpreter<'_>,
        input: Option<Vec<String>>,
        out: &mut dyn Sink,
    ) -> Outcome {
        let errors = interpreter.context.streams.error.clone();
        let merged = matches!(errors, Destination::Merged(_));
        let to_screen = out.is_display() && interpreter.terminal.is_screen() && !merged;
        let (mut child, output) = self.start(input.is_some(), to_screen, &errors).map_err(|error| {
            let message = format!("Program '{}' failed to run: {error}.", self.path.display());
            ErrorRecord::runtime("NativeCommandFailed", message).in_category("ResourceUnavailable")
        })?;
        if let (Some(lines), Some(mut stdin)) = (input, child.stdin.take()) {
            // A program that reads nothing must not hold us, nor one that waits for us to read.
            std::thread::spawn(move || {
                for line in lines {
                    if writeln!(stdin, "{line}").is_err() {
                        break;
                    }
                }
            });
        }
        let read = match output {
            Some(output) => pass_on(interpreter, BufReader::new(output), out),
            None => Ok(()),
        };
        if read.is_err() {
            let _ = child.kill();
        }
        let status = wait(interpreter, &mut child)?;
        use std::os::unix::process::ExitStatusExt;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        interpreter.last_exit_code = code.into();
        interpreter.fine &= code == 0;
        read
    }
}

fn pass_on(interpreter: &mut Interpreter<'_>, mut from: impl BufRead, out: &mut dyn Sink) -> Outcome {
    let mut line = Vec::new();
    loop {
        line.clear();
        match from.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return Ok(()),
            Ok(_) => {
                let said = String::from_utf8_lossy(&line);
                out.put(interpreter, said.trim_end_matches(['\n', '\r']).into())?;
            }
        }
    }
}

fn wait(interpreter: &Interpreter<'_>, child: &mut Child) -> Outcome<std::process::ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {
                if let Err(flow) = interpreter.heed() {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(flow);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => {
                let message = format!("The program's end could not be learned: {error}.");
                return Err(Flow::from(ErrorRecord::runtime("NativeCommandFailed", message)));
            }
        }
    }
}

impl Stage for Native {
    fn process(&mut self, _: &mut Interpreter<'_>, item: Value, _: &mut dyn Sink) -> Outcome {
        self.input.push(text(&item));
        Ok(())
    }

    fn alone(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        self.run(interpreter, None, out)?;
        // So that the end does not run it once more.
        self.path = PathBuf::new();
        Ok(())
    }

    fn end(&mut self, interpreter: &mut Interpreter<'_>, out: &mut dyn Sink) -> Outcome {
        if self.path.as_os_str().is_empty() {
            return Ok(());
        }
        let input = std::mem::take(&mut self.input);
        self.run(interpreter, Some(input), out)
    }
}
