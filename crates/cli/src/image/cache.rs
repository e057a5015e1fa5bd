//! Where made images and firmware are kept: directories that are either complete or not there.

use anyhow::{Context, Result, bail};
use ireko_manage::place;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// `IREKO_CACHE`, else `ireko` in the user's XDG cache directory.
pub fn directory() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set("IREKO_CACHE") {
        return std::path::absolute(&path).context("the path of IREKO_CACHE");
    }
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    match base {
        Some(base) => Ok(base.join("ireko")),
        None => bail!("there is no cache directory: set IREKO_CACHE, XDG_CACHE_HOME or HOME"),
    }
}

/// The newest complete directory whose name starts and ends so.
pub fn newest(cache: &Path, start: &str, ending: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(cache).ok()?.flatten();
    entries
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(start) && name.ends_with(ending)
        })
        .max_by_key(|entry| entry.metadata().and_then(|meta| meta.modified()).ok())
        .map(|entry| entry.path())
}

/// A directory that becomes the cache's `name` as a whole, or vanishes.
pub struct Draft {
    path: PathBuf,
    cache: PathBuf,
}

impl Draft {
    pub fn new(cache: &Path) -> Result<Self> {
        place::claim(cache)
            .context("the cache of the guest image is not used; IREKO_CACHE can name another place")?;
        remove_orphans(cache);
        let path = cache.join(format!(".draft-{}", std::process::id()));
        let made = DirBuilder::new().recursive(true).mode(0o755).create(&path);
        made.with_context(|| format!("cannot write in {}", cache.display()))?;
        Ok(Self { path, cache: cache.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the directory `part` of the draft its place. If somebody else was faster, theirs stays.
    pub fn keep(self, part: &str, name: &str) -> Result<PathBuf> {
        let target = self.cache.join(name);
        match fs::rename(self.path.join(part), &target) {
            Err(error) if !target.is_dir() => {
                Err(error).with_context(|| format!("cannot write {}", target.display()))
            }
            _ => Ok(target),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Drafts of processes that were killed.
fn remove_orphans(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.strip_prefix(".draft-").is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ireko-cache-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_dropped_draft_leaves_nothing() {
        let cache = scratch("dropped");
        let draft = Draft::new(&cache).unwrap();
        fs::write(draft.path().join("half"), b"x").unwrap();
        drop(draft);
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
        fs::remove_dir_all(cache).unwrap();
    }

    #[test]
    fn a_kept_part_is_found_as_the_newest_image() {
        let cache = scratch("kept");
        let draft = Draft::new(&cache).unwrap();
        fs::create_dir(draft.path().join("root")).unwrap();
        let kept = draft.keep("root", "image-1").unwrap();
        assert_eq!(newest(&cache, "image-", "-1"), Some(kept));
        assert_eq!(newest(&cache, "image-", "-2"), None);
        fs::remove_dir_all(cache).unwrap();
    }

    #[test]
    fn a_draft_of_a_dead_process_is_removed() {
        let cache = scratch("orphan");
        fs::create_dir_all(cache.join(".draft-999999999")).unwrap();
        drop(Draft::new(&cache).unwrap());
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
        fs::remove_dir_all(cache).unwrap();
    }
}
