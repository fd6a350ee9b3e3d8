//! `backup` and `restore`: a copy of the profile in a file, by its owner where there is one; and a profile made of it.

use std::path::Path;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::{
    Program, connect, internal, password,
    profile::{self, Taken, make_dir, socket_path},
};
use crate::{
    commands::{End, output::note},
    control::{
        call::{Backup, Call},
        proto::ErrorLine,
    },
    store::{Store, StoreError},
    text::{Name, Shown},
};

/// `backup`. Errors have written nothing.
pub(super) async fn back_up(program: &Program, file: &Path) -> Result<(), End> {
    let path = std::path::absolute(file).map_err(|e| internal(&e))?;
    let dir = &program.settings.dir;
    if path.to_str().is_none() {
        return Err(ErrorLine::new("file", 2, format!("the path {} is not UTF-8", path.display())).into());
    }
    // What is made now is no copy of anything.
    if !dir.join(crate::store::FILE_NAME).exists() {
        let text = format!("there is no profile in {}", dir.display());
        return Err(ErrorLine::new("profile", 8, text).hint("say where it is with --data-dir").into());
    }
    if let Some(client) = connect(&socket_path(dir)?).await? {
        client.call(Call::Backup(Backup { file: path })).all().await?;
    } else {
        let store = match profile::take(&program.settings, None)? {
            Taken::Store(store) => *store,
            Taken::Locked => return Err(profile::in_use(program).into()),
            Taken::Sealed => {
                let unlock = password::present(program).await?;
                Store::unlock(dir, &unlock).map_err(|error| profile::refused(dir, &error))?
            }
        };
        store.back_up(&path).map_err(|error| not_written(&path, &error))?;
    }
    note(&format!("p2pchat-udp: the profile is in {}; config.toml is not", file.display()));
    Ok(())
}

/// Why a copy was not written.
pub(super) fn not_written(path: &Path, error: &StoreError) -> ErrorLine {
    let line = ErrorLine::new("file", 2, format!("{} was not written: {error}", path.display()));
    match error {
        StoreError::Exists => ErrorLine::new("file", 2, format!("{} is there already", path.display()))
            .hint("name a new file: a backup never takes the place of anything"),
        StoreError::Full => line.hint("make room on that disk, or choose another one"),
        _ => line,
    }
}

/// `restore`. Errors have made no profile.
pub(super) async fn restore(program: &Program, file: &Path) -> Result<(), End> {
    let dir = &program.settings.dir;
    if dir.join(crate::store::FILE_NAME).exists() {
        let text = format!("there is a profile in {} already", program.shown_dir());
        let hint = "a backup is restored into an empty one: choose it with --data-dir";
        return Err(ErrorLine::new("profile", 8, text).hint(hint).into());
    }
    make_dir(dir)?;
    let mut rng_seed = [0; 32];
    getrandom::fill(&mut rng_seed).map_err(|e| internal(&e))?;
    let mut rng = ChaCha20Rng::from_seed(rng_seed);
    let mut restored = Store::restore(dir, file, None, &mut rng);
    if matches!(restored, Err(StoreError::Sealed)) {
        let unlock = password::present(program).await?;
        restored = Store::restore(dir, file, Some(&unlock), &mut rng);
    }
    let loaded = restored.map_err(|error| not_restored(file, &error))?;
    let identity = crate::crypto::identity::Identity::from_secret(&loaded.secret).map_err(|e| internal(&e))?;
    let name = Name::or_short_id(&loaded.name, &identity.id());
    note(&format!(
        "p2pchat-udp: {} ({}) is restored; end the profile that it was copied from, where it still runs",
        Shown::line(name.as_str()),
        identity.id().short()
    ));
    Ok(())
}

fn not_restored(file: &Path, error: &StoreError) -> ErrorLine {
    let name = file.display();
    match error {
        StoreError::WrongPassword => {
            ErrorLine::new("password", 10, format!("wrong password for {name}")).hint("nothing was restored")
        }
        StoreError::Missing => ErrorLine::new("file", 2, format!("there is no file {name}")),
        StoreError::NotOurs => ErrorLine::new("file", 2, format!("{name} is no backup of a profile")),
        StoreError::Newer { .. } => ErrorLine::new("profile", 8, format!("{name}: {error}"))
            .hint("restore it with the version that wrote it, or a later one"),
        error => ErrorLine::new("file", 2, format!("{name} cannot be restored: {error}")),
    }
}
