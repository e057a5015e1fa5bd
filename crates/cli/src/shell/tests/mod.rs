//! Scripts against a host whose workers do nothing.

mod binding;
mod language;
mod objects;
mod reference;
mod scripts;
mod views;

use super::session::{Session, Terminal};
use ireko_manage::Host;
use ireko_manage::host::{EngineFacts, HostFacts, HostSystem};
use ireko_manage::store::Store;
use ireko_manage::worker::Launcher;
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

struct Here;

impl HostSystem for Here {
    fn host(&self) -> HostFacts {
        HostFacts {
            name: "here".into(),
            logical_processors: 4,
            memory: 64 << 30,
            memory_free: 32 << 30,
            vendor: "AuthenticAMD".into(),
            megahertz: 2000,
            brand: "a brand".into(),
        }
    }
    fn engine(&self, _: &str, _: bool) -> Result<EngineFacts, String> {
        Ok(EngineFacts { name: "soft".into(), reason: String::new(), nested: true, max_vcpus: 8 })
    }
}

/// Says that it has started a worker.
struct NoWorkers;

impl Launcher for NoWorkers {
    fn launch(&self, _: &Store, _: ireko_manage::Guid) -> Result<(), String> {
        Ok(())
    }
}

/// A host with a home of its own.
pub struct World {
    host: Host,
    home: PathBuf,
}

/// What a script said, and its exit code.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    pub out: String,
    pub err: String,
    pub code: u8,
}

struct Person {
    said: Rc<RefCell<Said>>,
    answers: Vec<&'static str>,
}

impl Terminal for Person {
    fn output(&mut self, text: &str) -> bool {
        self.said.borrow_mut().out += text;
        true
    }
    fn error(&mut self, text: &str) {
        self.said.borrow_mut().err += text;
    }
    fn ask(&mut self, prompt: &str) -> Option<String> {
        self.said.borrow_mut().out += prompt;
        if self.answers.is_empty() { None } else { Some(self.answers.remove(0).into()) }
    }
    fn console(&mut self, _: &Host, name: &str) -> anyhow::Result<()> {
        self.said.borrow_mut().out += &format!("console of {name}\n");
        Ok(())
    }
    fn enter(&mut self, _: &Host, session: &crate::vm::ssh::Session) -> anyhow::Result<i32> {
        let user = session.user.as_deref().unwrap_or("its user");
        self.said.borrow_mut().out += &format!("{user} in {}\n", session.name);
        Ok(7)
    }
}

impl World {
    pub fn new(vms: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let home = std::env::temp_dir().join(format!("ireko-shell-{}-{number}", std::process::id()));
        let store = Store::open(&home).expect("a store");
        let mut host = Host::new(store, Box::new(NoWorkers));
        host.system = Box::new(Here);
        let world = Self { host, home };
        for name in vms {
            world.ok(&format!("New-VM '{name}' 512MB -Generation 2 | Out-Null"));
        }
        world
    }

    pub fn asked(&self, interactive: bool, answers: &[&'static str], script: &str, words: &[&str]) -> Said {
        let said = Rc::new(RefCell::new(Said::default()));
        let person = Person { said: said.clone(), answers: answers.to_vec() };
        let mut session = Session::new(&self.host, Box::new(person));
        session.interactive = interactive;
        let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
        let code = session.script(script, &words);
        let said = said.borrow().clone();
        Said { code, ..said }
    }

    pub fn run(&self, script: &str) -> Said {
        self.asked(false, &[], script, &[])
    }

    /// The output of a script that must not fail.
    pub fn ok(&self, script: &str) -> String {
        let said = self.run(script);
        assert!(said.err.is_empty() && said.code == 0, "{script}: {}", said.err);
        said.out
    }

    /// The first line of the error of a script that must fail.
    pub fn error(&self, script: &str) -> String {
        let said = self.run(script);
        assert_eq!(said.code, 1, "{script} gave {:?}", said);
        said.err.lines().next().unwrap_or_default().to_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

/// The output of a script that needs no VMs.
pub fn says(script: &str) -> String {
    World::new(&[]).ok(script)
}
