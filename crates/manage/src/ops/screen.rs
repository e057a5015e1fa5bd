//! Save-VMScreenshot, Send-VMKey, Get- and Set-VMScreen: a VM's display, keyboard and how to watch it.

use super::targets::{Ambiguity, VSTD, change, only_off, vms};
use crate::host::Host;
use crate::keys;
use crate::operation::parameter::{int, one_of, path, text};
use crate::operation::{Call, Failure, Impact, Method, Operation, Parameter, Prints, Rest, Verb, View};
use crate::state::State;
use crate::store::config::{DisplayAdapter, ScreenPort};
use crate::store::{Config, atomic};
use crate::value::{Kind, Record};
use crate::worker::protocol::Request;
use crate::worker::screen::{Shown, VNC};
use crate::worker::vnc::password::LONGEST;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

pub static OPERATIONS: &[Operation] = &[
    Operation {
        cmdlet: "Save-VMScreenshot",
        aliases: &[],
        verbs: &[Verb {
            name: "screenshot",
            doc: "Save what is on the screen as a PNG file; without a file, print its text.",
            view: View::Text,
            needs_name: true,
        }],
        rest: Rest { method: Method::Post, route: "/vms/{VMName}/screenshot" },
        doc: "Saves what a running virtual machine's screen shows as a PNG file, and tells its size and, of a text mode, its text. Without a path no file is written.",
        parameters: &[&VSTD, FILE],
        prints: Prints::Always,
        result: Some(Kind::VMScreen),
        impact: Impact::None,
        run: save,
    },
    Operation {
        cmdlet: "Send-VMKey",
        aliases: &["Send-VMText"],
        verbs: &[Verb {
            name: "type",
            doc: "Type text and keys like {enter}, {ctrl+alt+del}.",
            view: View::Table,
            needs_name: true,
        }],
        rest: Rest { method: Method::Post, route: "/vms/{VMName}/keys" },
        doc: "Types on a running virtual machine's keyboard, which has the US layout. Keys with names stand in braces: {enter} {esc} {tab} {backspace} {space} {del} {ins} {home} {end} {pgup} {pgdn} {up} {down} {left} {right} {f1} to {f12} {caps} {num} {scroll} {print} {pause} {menu} {shift} {ctrl} {alt} {altgr} {win}; several are held together with a plus: {ctrl+alt+del} {ctrl+c}. A brace itself is {{.",
        parameters: &[&VSTD, TEXT],
        prints: Prints::Never,
        result: None,
        impact: Impact::Change,
        run: send,
    },
    Operation {
        cmdlet: "Get-VMScreen",
        aliases: &[],
        verbs: &[Verb {
            name: "screen",
            doc: "Say how to watch and use the screen (VNC).",
            view: View::List,
            needs_name: true,
        }],
        rest: Rest { method: Method::Get, route: "/vms/{VMName}/screen" },
        doc: "Tells where a running virtual machine's screen is (VNC on a Unix socket that is its owner's), and how to look at it.",
        parameters: &[&VSTD],
        prints: Prints::Always,
        result: Some(Kind::VMScreen),
        impact: Impact::None,
        run: tell,
    },
    Operation {
        cmdlet: "Set-VMScreen",
        aliases: &[],
        verbs: &[Verb {
            name: "screen-set",
            doc: "Let viewers in at a port of loopback, with a password; choose what shows pictures.",
            view: View::List,
            needs_name: true,
        }],
        rest: Rest { method: Method::Patch, route: "/vms/{VMName}/screen" },
        doc: "Lets viewers of a virtual machine's screen in at a port of loopback, too, with a password. VNC's authentication is weak (8 characters, DES, nothing that follows is encrypted), so it is never more than loopback. The adapter is what a virtual machine shows pictures on, with keyboard and mouse: Auto (a VGA if it starts with firmware), None, Vga, or Virtio, which is a VGA until the guest's driver of virtio's GPU takes it.",
        parameters: &[&VSTD, SETTINGS],
        prints: Prints::Never,
        result: None,
        impact: Impact::Change,
        run: |call| change(call, "change the screen of", set, |_, _| Vec::new()),
    },
];

const SETTINGS: &[Parameter] = &[
    one_of("Adapter", &["Auto", "None", "Vga", "Virtio"], "What shows pictures.").flag("adapter"),
    int("Port", 0, 65535, "A port of this host's loopback; 0 takes it away.").flag("port"),
    text("Password", "What a viewer has to know: 1 to 8 characters of ASCII.").flag("password"),
];
const FILE: &[Parameter] = &[path("Path", "A PNG file; one that is there is replaced.").at(1).positional()];
const TEXT: &[Parameter] =
    &[text("Text", "What is typed, as in 'root{enter}'.").required().at(1).positional()];

fn save(call: &mut Call<'_>) -> Result<(), Failure> {
    let configs = vms(call, Ambiguity::Refused)?;
    let path = call.arguments.text("Path").filter(|path| !path.is_empty());
    let path = path.map(super::disk::absolute).transpose()?;
    if path.is_some() && configs.len() > 1 {
        return Err(Failure::invalid("One file takes the screen of one virtual machine; give one name."));
    }
    call.each(configs, |call, config| {
        let shown = call.host.screen(&config)?;
        if let Some(path) = &path {
            write(path, &shown)?;
        }
        call.give(record(&config, &shown, path.as_ref()));
        Ok(())
    });
    Ok(())
}

fn record(config: &Config, shown: &Shown, path: Option<&PathBuf>) -> Record {
    Record::new(Kind::VMScreen)
        .with("VMName", config.name.as_str())
        .with("Width", shown.width)
        .with("Height", shown.height)
        .with("Path", path.map(|path| path.display().to_string()))
        .with("Text", shown.text.clone())
        .with("VMId", config.id)
}

/// The file as a whole. A file of another kind stays.
fn write(path: &Path, shown: &Shown) -> Result<(), Failure> {
    let name = path.display().to_string();
    let failed = |error: &dyn std::fmt::Display| {
        Failure::invalid(format!("The picture '{name}' cannot be written: {error}.")).about(&name)
    };
    if fs::symlink_metadata(path).is_ok() && !is_png(path) {
        return Err(Failure::invalid(format!(
            "There is a file '{name}' that is no PNG picture; name another."
        ))
        .about(&name));
    }
    let png = encode(shown).map_err(|error| failed(&error))?;
    atomic::write_among_others(path, &png).map_err(|error| failed(&error))
}

fn is_png(path: &Path) -> bool {
    const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
    let mut start = [0; 8];
    let plain = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
    plain
        && fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && start == SIGNATURE
}

fn encode(shown: &Shown) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, shown.width, shown.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&shown.pixels)?;
    Ok(bytes)
}

fn send(call: &mut Call<'_>) -> Result<(), Failure> {
    let events = keys::parse(call.arguments.text("Text").unwrap_or_default())?;
    let keys = keys::pack(&events);
    let configs = vms(call, Ambiguity::Refused)?;
    call.each(configs, |call, config| {
        if call.should("type on the keyboard of", &config.name) {
            call.host.running(&config)?;
            call.host.ask(&config, &Request::Keys { keys: keys.clone() })?;
        }
        Ok(())
    });
    Ok(())
}

fn tell(call: &mut Call<'_>) -> Result<(), Failure> {
    let configs = vms(call, Ambiguity::Refused)?;
    call.each(configs, |call, config| {
        let shown = call.host.screen(&config)?;
        let socket = socket(call.host, &config);
        let viewer = format!("vncviewer {}", quoted(&socket));
        let address = config.screen.as_ref().map(|screen| format!("127.0.0.1::{}", screen.port));
        let record = Record::new(Kind::VMScreen)
            .with("VMName", config.name.as_str())
            .with("Width", shown.width)
            .with("Height", shown.height)
            .with("Adapter", format!("{:?}", config.display))
            .with("Socket", socket)
            .with("Viewer", viewer)
            .with("Address", address)
            .with("VMId", config.id);
        call.give(record);
        Ok(())
    });
    Ok(())
}

fn set(call: &mut Call<'_>, config: &mut Config, state: State) -> Result<(), Failure> {
    if let Some(adapter) = call.arguments.text("Adapter") {
        let adapter = match adapter {
            "None" => DisplayAdapter::None,
            "Vga" => DisplayAdapter::Vga,
            "Virtio" => DisplayAdapter::Virtio,
            _ => DisplayAdapter::Auto,
        };
        if config.display != adapter {
            only_off(state, &config.name, "The adapter of its screen")?;
            config.display = adapter;
        }
        if call.arguments.int("Port").is_none() && call.arguments.text("Password").is_none() {
            return Ok(());
        }
    }
    let port = call.arguments.int("Port").map(|port| port as u16);
    let password = call.arguments.text("Password").map(good).transpose()?;
    let before = config.screen.clone();
    let port = port.or(before.as_ref().map(|screen| screen.port)).unwrap_or(0);
    let after = match password.or(before.as_ref().map(|screen| screen.password.clone())) {
        _ if port == 0 && call.arguments.int("Port").is_some() => None,
        _ if port == 0 => {
            return Err(Failure::invalid("Which port? Give -Port, as 5901.").about(&config.name));
        }
        Some(password) => Some(ScreenPort { port, password }),
        None => {
            let why = "Nobody comes in at a port without a password; give -Password, too.";
            return Err(Failure::invalid(why).about(&config.name));
        }
    };
    if before != after {
        only_off(state, &config.name, "The port of its screen")?;
        config.screen = after;
    }
    Ok(())
}

/// A password that viewers can give.
fn good(password: &str) -> Result<String, Failure> {
    let plain = password.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if plain && (1..=LONGEST).contains(&password.len()) {
        return Ok(password.to_owned());
    }
    Err(Failure::invalid(format!(
        "The password does not fit: VNC takes 1 to {LONGEST} characters of ASCII, and more would not count."
    )))
}

fn socket(host: &Host, config: &Config) -> String {
    host.store.directory(config.id).join(VNC).display().to_string()
}

/// For a shell.
fn quoted(path: &str) -> String {
    let plain = |one: char| one.is_ascii_alphanumeric() || "/._-".contains(one);
    if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown() -> Shown {
        Shown { width: 2, height: 1, pixels: vec![1, 2, 3, 4, 5, 6], text: None }
    }

    #[test]
    fn a_picture_comes_out_of_its_file_as_it_went_in() {
        let png = encode(&shown()).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let mut pixels = [0; 6];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_picture_replaces_a_picture_and_nothing_else() {
        let scratch = crate::scratch::Scratch::new();
        let path = scratch.path().join("out.png");
        write(&path, &shown()).unwrap();
        write(&path, &shown()).unwrap();
        fs::write(&path, "a letter").unwrap();
        assert!(write(&path, &shown()).unwrap_err().message.contains("is no PNG picture"));
        assert_eq!(fs::read(&path).unwrap(), b"a letter");
    }

    #[test]
    fn a_screen_at_a_port_has_a_password_that_fits() {
        let world = crate::ops::tests::World::with(&["vm"]);
        let set = |given: &[(&str, crate::Value)]| {
            world.error("Set-VMScreen", &[&[("VMName", "vm".into())], given].concat())
        };
        let port = || ("Port", crate::Value::Int(5901));
        assert!(set(&[port()]).contains("without a password"));
        for wrong in ["", "ninechars", "\u{e4}"] {
            assert!(set(&[port(), ("Password", wrong.into())]).contains("1 to 8 characters"), "{wrong}");
        }
        assert!(set(&[("Password", "secret".into())]).contains("Which port?"));
        assert_eq!(set(&[port(), ("Password", "secret".into())]), "");
        assert_eq!(set(&[("Port", crate::Value::Int(5902))]), "");
        let config = || world.host.configs().unwrap().remove(0).screen;
        assert_eq!(config(), Some(ScreenPort { port: 5902, password: "secret".into() }));
        assert_eq!(set(&[("Port", crate::Value::Int(0))]), "");
        assert_eq!(config(), None);
    }

    #[test]
    fn a_screen_has_the_adapter_that_it_is_given_and_keeps_its_port() {
        let world = crate::ops::tests::World::with(&["vm"]);
        let set = |given: &[(&str, crate::Value)]| {
            world.error("Set-VMScreen", &[&[("VMName", "vm".into())], given].concat())
        };
        let port = [("Port", crate::Value::Int(5901)), ("Password", "secret".into())];
        assert_eq!(set(&port), "");
        assert_eq!(set(&[("Adapter", "virtio".into())]), "");
        let config = world.host.configs().unwrap().remove(0);
        assert_eq!((config.display, config.screen.unwrap().port), (DisplayAdapter::Virtio, 5901));
        assert!(set(&[("Adapter", "cga".into())]).contains("cga"));
    }

    #[test]
    fn a_path_is_one_word_for_a_shell() {
        assert_eq!(quoted("/a/b-c.sock"), "/a/b-c.sock");
        assert_eq!(quoted("/a b/c'd"), r"'/a b/c'\''d'");
    }
}
