use super::atomic::{Step, write_in_steps};
use super::*;
use crate::scratch::Scratch;

fn store() -> (Scratch, Store) {
    let scratch = Scratch::new();
    let store = Store::open(scratch.path()).unwrap();
    (scratch, store)
}

fn vm(store: &Store, name: &str) -> Config {
    let config = Config::new(Guid::random().unwrap(), name, 0);
    store.create(&config).unwrap();
    config
}

#[test]
fn what_was_created_is_loaded() {
    let (_scratch, store) = store();
    let config = vm(&store, "a");
    assert_eq!(store.load(config.id).unwrap(), config);
}

#[test]
fn names_may_repeat() {
    let (_scratch, store) = store();
    vm(&store, "a");
    vm(&store, "a");
    assert_eq!(store.all().unwrap().len(), 2);
}

#[test]
fn a_hostile_name_is_only_a_name() {
    let (scratch, store) = store();
    let config = vm(&store, "../../etc/passwd\0");
    assert!(store.directory(config.id).starts_with(scratch.path().join("vms")));
    assert_eq!(store.load(config.id).unwrap().name, "../../etc/passwd\0");
}

#[test]
fn a_crash_before_any_step_leaves_the_old_or_the_new() {
    let steps = [Step::Create, Step::Write, Step::Sync, Step::Rename, Step::SyncDirectory];
    for crash in steps {
        let (_scratch, store) = store();
        let old = vm(&store, "old");
        let new = Config { name: "new".into(), ..old.clone() };
        let path = store.directory(old.id).join(config::FILE);
        let data = serde_json::to_vec(&new).unwrap();
        let result =
            write_in_steps(
                &path,
                &data,
                |step| {
                    if step == crash { Err(io::Error::other("crash")) } else { Ok(()) }
                },
            );
        assert!(result.is_err());
        let expected = if crash == Step::SyncDirectory { "new" } else { "old" };
        assert_eq!(store.load(old.id).unwrap().name, expected, "{crash:?}");
    }
}

#[test]
fn a_draft_that_was_cut_short_is_overwritten() {
    let (_scratch, store) = store();
    let config = vm(&store, "a");
    fs::write(store.directory(config.id).join("config.json.draft"), b"{\"schema\":").unwrap();
    let (lock, _) = store.lock(config.id).unwrap();
    store.save(&lock, &Config { name: "b".into(), ..config.clone() }).unwrap();
    assert_eq!(store.load(config.id).unwrap().name, "b");
}

#[test]
fn a_draft_of_a_new_vm_is_no_vm_and_is_swept() {
    let (scratch, store) = store();
    let draft = scratch.path().join("vms/.new-999999999-x");
    fs::create_dir(&draft).unwrap();
    assert!(store.all().unwrap().is_empty());
    vm(&store, "a");
    assert!(!draft.exists());
}

#[test]
fn a_damaged_vm_does_not_hide_the_others() {
    let (_scratch, store) = store();
    let damaged = vm(&store, "a");
    vm(&store, "b");
    fs::write(store.directory(damaged.id).join(config::FILE), b"not json").unwrap();
    let all = store.all().unwrap();
    assert_eq!(all.iter().filter(|one| one.is_ok()).count(), 1);
    assert!(all.iter().any(|one| matches!(one, Err(StoreError::Damaged { .. }))));
}

#[test]
fn a_newer_schema_is_refused() {
    let (_scratch, store) = store();
    let config = vm(&store, "a");
    fs::write(store.directory(config.id).join(config::FILE), br#"{"schema":999}"#).unwrap();
    assert!(matches!(store.load(config.id), Err(StoreError::TooNew { schema: 999, .. })));
}

#[test]
fn a_huge_file_is_not_read() {
    let (_scratch, store) = store();
    let config = vm(&store, "a");
    let file = fs::File::create(store.directory(config.id).join(config::FILE)).unwrap();
    file.set_len(1 << 40).unwrap();
    assert!(matches!(store.load(config.id), Err(StoreError::Io { .. })));
}

#[test]
fn a_removed_vm_is_gone_for_who_waited_for_its_lock() {
    let (_scratch, store) = store();
    let config = vm(&store, "a");
    let (lock, _) = store.lock(config.id).unwrap();
    let (waiting, id) = (store.clone(), config.id);
    let waiter = std::thread::spawn(move || waiting.lock(id).map(drop));
    store.remove(lock).unwrap();
    assert!(matches!(waiter.join().unwrap(), Err(StoreError::Gone(_))));
}

#[test]
fn others_may_not_look() {
    use std::os::unix::fs::PermissionsExt;
    let (_scratch, store) = store();
    let config = vm(&store, "a");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&store.directory(config.id)), 0o700);
    assert_eq!(mode(&store.directory(config.id).join(config::FILE)), 0o600);
}

#[test]
fn a_workers_lock_is_seen_and_goes_with_it() {
    let scratch = Scratch::new();
    assert!(!WorkerLock::held(scratch.path()));
    let lock = WorkerLock::take(scratch.path()).unwrap().unwrap();
    assert!(WorkerLock::held(scratch.path()));
    drop(lock);
    assert!(!WorkerLock::held(scratch.path()));
}

#[test]
fn a_home_that_others_may_write_is_refused_in_a_sentence() {
    let scratch = Scratch::new();
    let home = scratch.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let why = Store::open(&home).unwrap_err().to_string();
    assert!(why.contains("can be written by others (mode 0777)") && why.contains("chmod go-w"), "{why}");
}

#[test]
fn a_configuration_that_is_a_link_is_not_followed() {
    let (scratch, store) = store();
    let config = vm(&store, "vm");
    let file = store.directory(config.id).join(config::FILE);
    fs::rename(&file, scratch.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(scratch.path().join("elsewhere"), &file).unwrap();
    assert!(store.load(config.id).unwrap_err().to_string().contains("symbolic link"));
}
