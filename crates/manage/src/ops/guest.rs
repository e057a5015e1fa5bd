//! Copy-VMFile and Invoke-VMCommand: what QEMU's guest agent does in a guest.

use super::targets::{Ambiguity, STD, VSTD, vms};
use crate::base64::{decode, encode};
use crate::guid::Guid;
use crate::operation::parameter::{int, one_of, path, switch, text};
use crate::operation::{
    Call, Category, Failure, Impact, Method, Operation, Parameter, Prints, Rest, Verb, View,
};
use crate::render::printable;
use crate::store::Config;
use crate::value::{Kind, Record};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Copy-VMFile",
        aliases: &[],
        verbs: &[Verb {
            name: "copy",
            doc: "Copy a file of the host's into guests.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Post, route: "/vms/{Name}/copy" },
        doc: "Copies a file of the host's into guests, by their agent. The service Guest Service Interface must be on.",
        parameters: &[&STD, COPY],
        prints: Prints::Never,
        result: None,
        impact: Impact::Change,
        run: copy,
    },
    Operation {
        cmdlet: "Invoke-VMCommand",
        aliases: &[],
        verbs: &[Verb {
            name: "exec",
            doc: "Run a command line in guests, by their agent.",
            view: View::List,
            needs_name: true,
        }],
        rest: Rest { method: Method::Post, route: "/vms/{VMName}/command" },
        doc: "Runs a command line in guests by their agent, with /bin/sh as root, and gives what it wrote (Ireko's own). Invoke-Command -VMName does the same.",
        parameters: &[&VSTD, INVOKE],
        prints: Prints::Always,
        result: Some(Kind::VMCommandResult),
        impact: Impact::Change,
        run: invoke,
    },
];

const COPY: &[Parameter] = &[
    path("SourcePath", "The file of the host's.").required().at(1).positional(),
    text("DestinationPath", "The file in the guest, with its whole path.").required().at(2).positional(),
    one_of("FileSource", &["Host"], "From where."),
    switch("CreateFullPath", "Make directories that are missing.").flag("create-full-path"),
    switch("Force", "Replace a file that is there.").flag("force"),
];

const INVOKE: &[Parameter] = &[
    text("Command", "The command line.").required().at(1).positional(),
    text("ArgumentList", "What is $1, $2 and so on in it.").many(),
    int(
        "Timeout",
        1,
        i32::MAX as i64,
        "Seconds until it is an error: 600 without this. It runs on in the guest.",
    )
    .flag("timeout"),
];

/// Bytes at a time: what stands for them must fit in the channel's buffer.
const PIECE: usize = 24 << 10;
/// The same of what is read: an answer may be longer.
const READ: usize = 96 << 10;
/// What a command may write that comes with its end; more is read from files.
const WITH_ITS_END: usize = 96 << 10;
/// What it may write to each of its two streams; who writes more is ended by that, as by `head`.
const MOST_OUTPUT: usize = 16 << 20;
const PATIENCE: i64 = 600;
/// For what a copy has a guest do besides.
const SHORT: Duration = Duration::from_secs(30);

fn copy(call: &mut Call<'_>) -> Result<(), Failure> {
    let configs = vms(call, Ambiguity::Refused)?;
    let source = super::disk::absolute(call.arguments.text("SourcePath").unwrap_or_default())?;
    call.each(configs, |call, config| {
        if !config.integration.guest_service_interface {
            return Err(Failure::refused(format!(
                "The service Guest Service Interface of '{0}' is off; switch it on with Enable-VMIntegrationService -VMName '{0}' -Name 'Guest Service Interface'.",
                config.name
            ))
            .about(&config.name));
        }
        if !call.should("copy a file into", &config.name) {
            return Ok(());
        }
        call.host.running(&config)?;
        copy_one(call, &config, source_file(&source)?, &source)
    });
    Ok(())
}

/// Nothing that has no end, or that waits for somebody.
fn source_file(source: &Path) -> Result<File, Failure> {
    let cannot = |why: &dyn std::fmt::Display| {
        Failure::invalid(format!("The file '{}' cannot be read: {why}.", source.display()))
    };
    // O_NONBLOCK: a pipe without a writer is opened, too, and refused then.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(source);
    let file = file.map_err(|error| cannot(&error))?;
    match file.metadata().map_err(|error| cannot(&error))?.is_file() {
        true => Ok(file),
        false => Err(cannot(&"it is no regular file")),
    }
}

fn copy_one(call: &mut Call<'_>, config: &Config, mut file: File, source: &Path) -> Result<(), Failure> {
    let deadline = Deadline { began: Instant::now(), most: call.surface.longest_wait() };
    let mut to = destination(call.arguments.text("DestinationPath").unwrap_or_default(), source)?;
    let length = file.metadata().map_or(0, |facts| facts.len());
    // One command says whether it may be there: the agent's own words for it do not.
    let script = "test -d \"$1\" && exit 18; test -e \"$1\" && test -z \"$3\" && exit 17; test -z \"$2\" || mkdir -p \"$(dirname \"$1\")\"";
    let flag = |name: &str| if call.arguments.switch(name) { "1".to_owned() } else { String::new() };
    let (make, force) = (flag("CreateFullPath"), flag("Force"));
    let mut ready = run(call, config, script, &[to.clone(), make.clone(), force.clone()], SHORT)?;
    if ready.code == 18 {
        // A folder gets it under its own name.
        to = destination(&format!("{to}/"), source)?;
        ready = run(call, config, script, &[to.clone(), make, force], SHORT)?;
    }
    if ready.code == 18 {
        let told = format!("'{to}' is a folder in '{}'; give the file another name.", config.name);
        return Err(Failure::refused(told).about(&config.name));
    }
    if ready.code == 17 {
        let told = format!("'{to}' is there already in '{}'; -Force replaces it.", config.name);
        return Err(Failure::refused(told).about(&config.name));
    }
    // What is there stays until the new one is whole.
    let part = format!("{to}.part");
    let opened = call.host.ask_agent(config, "guest-file-open", json!({ "path": part, "mode": "w" }));
    let handle = opened.map_err(|_| {
        let told = format!(
            "'{to}' cannot be made in the guest of '{}'; is its directory there? -CreateFullPath makes it.",
            config.name
        );
        Failure::failed(told).about(&config.name)
    })?;
    let written = pieces(call, config, &handle, (&mut file, source, length), &deadline);
    let closed = call.host.ask_agent(config, "guest-file-close", json!({ "handle": handle }));
    let words = [part, to.clone()];
    let moved = written.and(closed).and_then(|_| run(call, config, "mv -f -- \"$1\" \"$2\"", &words, SHORT));
    let failure = match moved {
        Ok(moved) if moved.code == 0 => return Ok(()),
        Ok(_) => Failure::failed(format!("'{to}' cannot be replaced in the guest of '{}'.", config.name))
            .about(&config.name),
        Err(failure) => failure,
    };
    // Half a file is none, also of who has no time any more.
    let remove = json!({ "path": "/bin/rm", "arg": ["-f", "--", format!("{to}.part")] });
    let _ = call.host.ask_agent(config, "guest-exec", remove);
    Err(failure)
}

/// A whole path in the guest, of Windows' spelling, too; of a folder, the file's own name in it.
fn destination(text: &str, source: &Path) -> Result<String, Failure> {
    let drive = text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) && text.get(1..2) == Some(":");
    let whole = if drive { text[2..].replace('\\', "/") } else { text.to_owned() };
    if !whole.starts_with('/') {
        return Err(Failure::invalid(format!(
            "'{}' is no whole path in the guest; write it from its root on, like /srv/file.",
            text.escape_debug()
        )));
    }
    let name = source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(if whole.ends_with('/') { whole + &name } else { whole })
}

/// How long something may take that comes to an end by itself, but when?
struct Deadline {
    began: Instant,
    most: Duration,
}

impl Deadline {
    fn check(&self, call: &Call<'_>, config: &Config, what: &str) -> Result<(), Failure> {
        call.pause(Duration::ZERO).map_err(|failure| failure.about(&config.name))?;
        if self.began.elapsed() < self.most {
            return Ok(());
        }
        let told = format!(
            "{what} '{}' has not come to its end within {} seconds, which are the most over HTTP; on the host itself ireko shell and ireko vm wait for it.",
            config.name,
            self.most.as_secs()
        );
        Err(Failure::new(Category::OperationTimeout, "OperationTimeout", told).about(&config.name))
    }
}

fn pieces(
    call: &mut Call<'_>,
    config: &Config,
    handle: &Value,
    (file, source, length): (&mut File, &Path, u64),
    deadline: &Deadline,
) -> Result<Value, Failure> {
    let mut file = file.take(length);
    let mut piece = vec![0; PIECE];
    let mut done = 0;
    loop {
        deadline.check(call, config, "The copy into")?;
        let count = file.read(&mut piece).map_err(|error| {
            Failure::failed(format!("The file '{}' cannot be read: {error}.", source.display()))
        })?;
        if count == 0 {
            return Ok(Value::Null);
        }
        let arguments = json!({ "handle": handle, "buf-b64": encode(&piece[..count]) });
        let answer = call.host.ask_agent(config, "guest-file-write", arguments)?;
        if answer["count"].as_u64() != Some(count as u64) {
            let told =
                format!("The guest of '{}' took less than it was given; is its disk full?", config.name);
            return Err(Failure::failed(told).about(&config.name));
        }
        done += count as u64;
        call.surface.progress(&config.name, done, length.max(done));
    }
}

/// What a command came to.
struct Outcome {
    code: i64,
    out: String,
    err: String,
}

fn told(answer: &Value, name: &str) -> String {
    let bytes = answer[name].as_str().and_then(decode).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// As the agent calls it; elsewhere the word is a vendor's.
const CODE: &str = concat!("exit", "code");

/// Of guest-exec-status; `None`: it runs.
fn outcome(answer: &Value) -> Option<Outcome> {
    // Who was ended by a signal has no code; shells say 128 more than its number.
    let code =
        answer[CODE].as_i64().or_else(|| answer["signal"].as_i64().map(|signal| signal.saturating_add(128)));
    answer["exited"].as_bool()?.then(|| Outcome {
        code: code.unwrap_or(0),
        out: told(answer, "out-data"),
        err: told(answer, "err-data"),
    })
}

/// Runs a line of a shell there, and waits for its end.
fn run(
    call: &Call<'_>,
    config: &Config,
    script: &str,
    words: &[String],
    patience: Duration,
) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let mut arguments = vec!["-c", script, "sh"];
    arguments.extend(words.iter().map(String::as_str));
    let start = json!({ "path": "/bin/sh", "arg": arguments, "capture-output": true });
    let started = call.host.ask_agent(config, "guest-exec", start)?;
    let mut pause = Duration::from_millis(20);
    loop {
        let answer = call.host.ask_agent(config, "guest-exec-status", json!({ "pid": started["pid"] }))?;
        if let Some(outcome) = outcome(&answer) {
            return Ok(outcome);
        }
        if began.elapsed() > patience {
            let told = format!(
                "The command in '{}' has not ended within {} seconds; it runs on there.",
                config.name,
                patience.as_secs()
            );
            return Err(
                Failure::new(Category::OperationTimeout, "OperationTimeout", told).about(&config.name)
            );
        }
        call.pause(pause).map_err(|failure| failure.about(&config.name))?;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

/// Runs a line whose output may be longer than an answer: then it is in files in the guest, whose folder the answer has behind `$1`.
const WITH_OUTPUT: &str = r#"mark=$1 most=$2 few=$3 line=$4
shift 4
folder=$(mktemp -d) && mkfifo "$folder/1" "$folder/2" || { /bin/sh -c "$line" sh "$@"; exit; }
head -c "$most" < "$folder/1" > "$folder/out" &
head -c "$most" < "$folder/2" > "$folder/err" &
/bin/sh -c "$line" sh "$@" > "$folder/1" 2> "$folder/2"
code=$?
wait
if [ "$(cat "$folder/out" "$folder/err" | wc -c)" -gt "$few" ]; then
    echo "$mark $code $folder"
    exit
fi
cat "$folder/out"
cat "$folder/err" >&2
rm -rf "$folder"
exit "$code""#;

/// As [`run`], with as much output as it may have.
fn run_with_output(
    call: &mut Call<'_>,
    config: &Config,
    line: &str,
    words: &[String],
    patience: Duration,
) -> Result<Outcome, Failure> {
    let mark = Guid::random().map_err(|error| Failure::failed(format!("No random id: {error}")))?.to_string();
    let own = [mark.clone(), MOST_OUTPUT.to_string(), WITH_ITS_END.to_string(), line.to_owned()];
    let ended = run(call, config, WITH_OUTPUT, &[&own, words].concat(), patience)?;
    let Some((code, folder)) = in_files(&ended.out, &mark) else { return Ok(ended) };
    let deadline = Deadline { began: Instant::now(), most: call.surface.longest_wait() };
    let mut texts = Vec::new();
    for name in ["out", "err"] {
        let bytes = fetch(call, config, &format!("{folder}/{name}"), &deadline);
        texts.push(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
    }
    let remove = json!({ "path": "/bin/rm", "arg": ["-rf", "--", folder] });
    let _ = call.host.ask_agent(config, "guest-exec", remove);
    let err = texts.pop().unwrap_or(Ok(String::new()))?;
    let out = texts.pop().unwrap_or(Ok(String::new()))?;
    if out.len().max(err.len()) >= MOST_OUTPUT {
        call.warn(format!(
            "The command in '{}' wrote more than {} MiB, and was ended there; have it write to a file.",
            config.name,
            MOST_OUTPUT >> 20
        ));
    }
    Ok(Outcome { code, out, err })
}

/// The exit code and the folder of who wrote much.
fn in_files<'a>(out: &'a str, mark: &str) -> Option<(i64, &'a str)> {
    let (code, folder) = out.strip_prefix(mark)?.trim().split_once(' ')?;
    Some((code.parse().ok()?, folder))
}

/// A file of the guest's, as far as it may be long.
fn fetch(call: &Call<'_>, config: &Config, path: &str, deadline: &Deadline) -> Result<Vec<u8>, Failure> {
    let handle = call.host.ask_agent(config, "guest-file-open", json!({ "path": path, "mode": "r" }))?;
    let mut bytes = Vec::new();
    let read = loop {
        let piece = deadline.check(call, config, "Reading what the command wrote in").and_then(|()| {
            let arguments = json!({ "handle": handle, "count": READ });
            call.host.ask_agent(config, "guest-file-read", arguments)
        });
        let piece = match piece {
            Ok(piece) => piece,
            Err(failure) => break Err(failure),
        };
        let come = piece["buf-b64"].as_str().and_then(decode).unwrap_or_default();
        bytes.extend_from_slice(&come);
        if come.is_empty() || piece["eof"] == json!(true) || bytes.len() >= MOST_OUTPUT {
            break Ok(());
        }
    };
    let _ = call.host.ask_agent(config, "guest-file-close", json!({ "handle": handle }));
    read.map(|()| bytes)
}

/// As they may be shown; tabs stay.
fn lines(text: &str) -> crate::value::Value {
    let shown = |line: &str| line.split('\t').map(printable).collect::<Vec<_>>().join("\t");
    crate::value::Value::list(text.lines().map(shown))
}

fn invoke(call: &mut Call<'_>) -> Result<(), Failure> {
    let configs = vms(call, Ambiguity::Refused)?;
    let command = call.arguments.text("Command").unwrap_or_default().to_owned();
    let words: Vec<String> = call.arguments.items("ArgumentList").iter().map(ToString::to_string).collect();
    let patience = Duration::from_secs(call.arguments.int("Timeout").unwrap_or(PATIENCE) as u64);
    let patience = patience.min(call.surface.longest_wait());
    call.each(configs, |call, config| {
        if !call.should("run a command in", &config.name) {
            return Ok(());
        }
        let outcome = run_with_output(call, &config, &command, &words, patience)?;
        let record = Record::new(Kind::VMCommandResult)
            .with("VMName", config.name.as_str())
            .with("ExitCode", outcome.code)
            .with("Output", lines(&outcome.out))
            .with("ErrorOutput", lines(&outcome.err))
            .with("VMId", config.id);
        call.give(record);
        Ok(())
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::World;

    #[test]
    fn what_a_command_wrote_and_its_code_are_heard() {
        let answer = json!({ "exited": true, (CODE): 3, "out-data": "aGkK", "err-data": "bm8=" });
        let outcome = outcome(&answer).expect("an outcome");
        assert_eq!((outcome.code, &*outcome.out, &*outcome.err), (3, "hi\n", "no"));
        assert!(super::outcome(&json!({ "exited": false })).is_none());
    }

    #[test]
    fn who_was_ended_by_a_signal_has_the_code_that_shells_say() {
        assert_eq!(outcome(&json!({ "exited": true, "signal": 9 })).map(|outcome| outcome.code), Some(137));
    }

    #[test]
    fn much_output_is_looked_for_where_its_end_says() {
        assert_eq!(in_files("mark 3 /tmp/x y\n", "mark"), Some((3, "/tmp/x y")));
        assert_eq!(in_files("mar 3 /tmp/x\n", "mark"), None);
    }

    /// The shell of this host does what a guest's does.
    fn with_output(few: usize, line: &str) -> std::process::Output {
        let words = ["-c", WITH_OUTPUT, "sh", "mark", "1000", &few.to_string(), line, "a b"];
        std::process::Command::new("/bin/sh").args(words).output().expect("a shell")
    }

    #[test]
    fn a_command_of_few_words_gives_them_with_its_code() {
        let output = with_output(100, "echo \"$1\"; echo no >&2; exit 3");
        assert_eq!(
            (&*output.stdout, &*output.stderr, output.status.code()),
            (&b"a b\n"[..], &b"no\n"[..], Some(3))
        );
    }

    #[test]
    fn a_command_without_end_is_ended_by_what_it_writes() {
        let output = with_output(100, "yes");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, folder) = in_files(&said, "mark").expect("files");
        assert_eq!(std::fs::metadata(format!("{folder}/out")).map(|facts| facts.len()).ok(), Some(1000));
        let _ = std::fs::remove_dir_all(folder);
    }

    #[test]
    fn a_destination_is_a_whole_path_and_a_folder_keeps_the_name() {
        let of = |text| destination(text, Path::new("/a/b.iso")).map_err(|failure| failure.message);
        assert_eq!(of("/srv/x").as_deref(), Ok("/srv/x"));
        assert_eq!(of("/srv/").as_deref(), Ok("/srv/b.iso"));
        assert_eq!(of("C:\\srv\\x").as_deref(), Ok("/srv/x"));
        assert!(of("srv/x").is_err_and(|why| why.contains("'srv/x' is no whole path")));
    }

    #[test]
    fn a_file_is_not_copied_while_the_service_is_off() {
        let world = World::with(&["vm"]);
        let said = world.error(
            "Copy-VMFile",
            &[
                ("Name", "vm".into()),
                ("SourcePath", "/etc/hostname".into()),
                ("DestinationPath", "/x".into()),
            ],
        );
        assert!(said.contains("Enable-VMIntegrationService -VMName 'vm'"), "{said}");
    }

    #[test]
    fn a_guest_without_an_agent_is_said() {
        let world = World::with(&["vm"]);
        let command = [("VMName", "vm".into()), ("Command", "true".into())];
        assert!(world.error("Invoke-VMCommand", &command).contains("Start-VM"));
        world.ok("Start-VM", &[("Name", "vm".into())]);
        assert!(world.error("Invoke-VMCommand", &command).contains("qemu-guest-agent"));
    }
}
