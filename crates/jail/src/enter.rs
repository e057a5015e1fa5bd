//! The whole of it: from a process with its user's rights to one with next to none.

use crate::filter::{self, Kind};
use crate::identity::Identity;
use crate::layer::Layers;
pub use crate::root::Kept;
use crate::rules::{self, Use};
use crate::{capabilities, namespaces, root, sys};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use std::io;
use std::path::{Path, PathBuf};

/// What is to be kept.
pub struct Plan {
    /// The VM's: its user is made from it.
    pub id: [u8; 16],
    /// All that is kept lies below it.
    pub home: PathBuf,
    /// Below the home: where files of its own are written, if it writes any.
    pub files: Option<PathBuf>,
    /// Below the home: where sockets of switches lie, if it uses any.
    pub sockets: Option<PathBuf>,
    /// It speaks to the host's network, and keeps it.
    pub network: bool,
}

/// What came out.
pub struct Jailed<T> {
    pub layers: Layers,
    /// Of this process, as the host sees it.
    pub pid: u32,
    /// What the home is called from now on.
    pub home: PathBuf,
    /// What was opened on the way.
    pub opened: T,
}

/// Gives files to who the process will be. The second argument: it will look up their names from the home's down.
pub type Lend<'a> = dyn Fn(&Identity, bool) -> io::Result<()> + 'a;

/// Puts this process behind all walls that can be had. It must have one thread, and everything open that it needs. `lend` is
/// called while files may still be given away; `open` in the process that will be, before names are lost. What is missing
/// is no error, and is told in the layers.
pub fn enter<T>(
    plan: &Plan,
    mut layers: Layers,
    lend: &Lend<'_>,
    open: impl FnOnce() -> T,
) -> io::Result<Jailed<T>> {
    let proc = openat(CWD, "/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut identity = choose(plan, lend, &mut layers);
    // Root without the right to namespaces (in a container) may have them as somebody else.
    if let Some(one) = identity.filter(|_| !sys::may_administer() && sys::users_possible())
        && lend(&one, true).is_ok()
    {
        become_user(&one, plan, &mut layers);
        identity = None;
    }
    let separated = namespaces::separate(&proc, identity.as_ref(), plan.network, &mut layers);
    let opened = open();
    let home = change_root(plan, &separated, identity.as_ref(), lend, &mut layers);
    if let Some(identity) = identity {
        become_user(&identity, plan, &mut layers);
        layers.tried("user namespace", namespaces::own_users(&proc));
    }
    drop(proc);
    drop_rights(&mut layers);
    // After the change of users, which makes the kernel forget it (prctl(2)).
    if separated.parent.is_some_and(|parent| !parent.dies_with_it()) {
        std::process::exit(1);
    }
    seal(plan, &home, &mut layers);
    Ok(Jailed { layers, pid: separated.pid, home, opened })
}

/// A user of its own, where this process may choose one.
fn choose(plan: &Plan, lend: &Lend<'_>, layers: &mut Layers) -> Option<Identity> {
    if !rustix::process::geteuid().is_root() {
        layers.missing("user of its own", "only root can give one; it runs as the user who started it");
        return None;
    }
    match Identity::of(&plan.id).and_then(|identity| lend(&identity, false).map(|()| identity)) {
        Ok(identity) => Some(identity),
        Err(error) => {
            layers.missing("user of its own", error.to_string());
            None
        }
    }
}

/// The home's new name.
fn change_root(
    plan: &Plan,
    separated: &namespaces::Separated,
    identity: Option<&Identity>,
    lend: &Lend<'_>,
    layers: &mut Layers,
) -> PathBuf {
    const NAME: &str = "empty root";
    let inside = |path: &Path| path.strip_prefix(&plan.home).unwrap_or(path).to_owned();
    let kept: Vec<Kept> = [plan.files.as_ref(), plan.sockets.as_ref()]
        .into_iter()
        .flatten()
        .map(|path| Kept { outside: path.clone(), inside: inside(path) })
        .collect();
    let why = match separated.mounts.then(|| root::empty(&kept)) {
        Some(Ok(())) => {
            layers.stands(NAME, format!("{} of the home, and nothing else", names(&kept)));
            return "/".into();
        }
        Some(Err(error)) => format!("the root cannot be replaced: {error}"),
        None => "there are no mounts of its own".into(),
    };
    // Who stays who it is, as root in a container with one user, may look up its own names already.
    let lent = identity.map_or(Ok(()), |identity| lend(identity, true));
    match lent.and_then(|()| root::confine_to(&plan.home)) {
        Ok(()) => {
            layers.stands(NAME, format!("the home, by chroot: {why}"));
            "/".into()
        }
        Err(error) => {
            layers.missing(NAME, format!("{why}; chroot: {error}"));
            plan.home.clone()
        }
    }
}

fn names(kept: &[Kept]) -> String {
    kept.iter().map(|one| one.inside.display().to_string()).collect::<Vec<_>>().join(" and ")
}

fn become_user(identity: &Identity, plan: &Plan, layers: &mut Layers) {
    // With the rights that it still has: nobody who becomes root in here gets any.
    let _ = capabilities::empty_bounding_set();
    let done = sys::become_user(identity, plan.sockets.is_some());
    layers.tried("user of its own", done.map(|()| identity.own.to_string()));
    // The files in /proc of who has changed its user belong to root otherwise.
    let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
}

fn drop_rights(layers: &mut Layers) {
    let dropped = capabilities::drop_all().map(|bounded| match bounded {
        true => "none, and none to be had".to_owned(),
        false => "none; the bounding set is the user's".to_owned(),
    });
    layers.tried("capabilities", dropped);
    layers.tried(
        "no new privileges",
        capabilities::no_new_privileges().map(|()| "whatever it executes".to_owned()),
    );
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    let quiet = setrlimit(Resource::Core, nothing)
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    layers.tried("not dumpable", quiet.map(|()| "no core dump, and nobody traces it".to_owned()));
}

fn seal(plan: &Plan, home: &Path, layers: &mut Layers) {
    let moved = |path: &PathBuf| home.join(path.strip_prefix(&plan.home).unwrap_or(path));
    let files = plan.files.as_ref().map(moved);
    let sockets = plan.sockets.as_ref().map(moved);
    let kept: Vec<(&Path, Use)> = (files.as_deref().map(|path| (path, Use::Files)).into_iter())
        .chain(sockets.as_deref().map(|path| (path, Use::Sockets)))
        .collect();
    layers.tried("Landlock", rules::restrict(&kept, plan.network));
    let kind = if plan.network { Kind::Router } else { Kind::Main };
    let filtered = filter::confine(kind).map(|()| "a filter for each kind of thread".to_owned());
    layers.tried("seccomp", filtered);
}
