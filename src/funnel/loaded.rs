//! The files that a configuration names, read once, when the funnel is created.

use std::net::SocketAddr;

use iroh::SecretKey;

use crate::{
    admission::roster::{Roster, RosterFile},
    config::{Exposed, FunnelConfig, Problems, RelayAuthorities},
    error::Error,
    identity::{self, KeyLock},
    report::chain,
    tls::{LocalTls, Trust},
};

/// The contents of the files.
pub(super) struct Loaded {
    pub(super) secret_key: Option<SecretKey>,
    /// `None` without a key file.
    pub(super) key_lock: Option<KeyLock>,
    pub(super) local_tls: Option<LocalTls>,
    pub(super) trust: Trust,
    pub(super) relay_authorities: RelayAuthorities,
    pub(super) roster: Roster,
}

impl Loaded {
    /// Reads the files, creates the key and the local certificate where they are missing, and locks the key file.
    ///
    /// # Errors
    /// If another funnel has locked the key file, before any other file is touched, or if files cannot be used: a
    /// [`ConfigError`] with all of them.
    pub(super) fn read(config: &FunnelConfig) -> Result<Self, Error> {
        let mut problems = Problems::from(config.mistakes());
        let secret_key = secret_key(config, &mut problems);
        let key_file = config.key_file.as_deref().filter(|_| secret_key.is_some());
        let acquire = |key_file| KeyLock::acquire(key_file, config.state_dir.as_deref());
        let key_lock = key_file.map(acquire).transpose().map_err(Error::key_in_use)?;
        let local_tls = local_tls(config, &mut problems);
        let trust = trust(config.exposed.as_ref(), &mut problems);
        let relay_authorities = relay_authorities(config, &mut problems);
        let roster = roster(config.exposed.as_ref(), &mut problems);
        if let (Some(key), true) = (&secret_key, config.key_file.is_some()) {
            problems.extend(config.peers_with_key(key));
        }
        problems.check().map_err(Error::config)?;
        Ok(Self { secret_key, key_lock, local_tls, trust, relay_authorities, roster })
    }
}

fn secret_key(config: &FunnelConfig, problems: &mut Problems) -> Option<SecretKey> {
    match config.key_file.as_deref().map(identity::load_or_create) {
        Some(Ok(key)) => Some(key),
        Some(Err(error)) => {
            problems.add(format!("key file: {}", chain(&error)), error.is_mistake());
            None
        }
        None => config.secret_key.clone(),
    }
}

fn local_tls(config: &FunnelConfig, problems: &mut Problems) -> Option<LocalTls> {
    if !config.local_tls {
        return None;
    }
    let listening = config.peers.iter().map(|peer| config.listen_addr(peer)).map(|addr: SocketAddr| addr.ip());
    match LocalTls::load_or_issue(&config.state_path()?, listening.collect::<Vec<_>>()) {
        Ok(local_tls) => Some(local_tls),
        Err(error) => {
            problems.add(format!("local_tls: {}", chain(&error)), error.is_mistake());
            None
        }
    }
}

fn trust(exposed: Option<&Exposed>, problems: &mut Problems) -> Trust {
    let path = exposed.and_then(|exposed| exposed.superlink_ca.as_deref());
    path.map_or_else(|| Ok(Trust::default()), Trust::read).unwrap_or_else(|error| {
        problems.add(format!("superlink_ca: {}", chain(&error)), error.is_mistake());
        Trust::default()
    })
}

fn relay_authorities(config: &FunnelConfig, problems: &mut Problems) -> RelayAuthorities {
    let mut all = RelayAuthorities::default();
    for path in &config.relay_ca_files {
        match RelayAuthorities::read(path) {
            Ok(authorities) => all.extend(authorities),
            Err(error) => problems.add(format!("relay CA: {}", chain(&error)), error.is_mistake()),
        }
    }
    all
}

fn roster(exposed: Option<&Exposed>, problems: &mut Problems) -> Roster {
    let file = exposed.and_then(|exposed| exposed.roster.as_ref());
    file.map_or_else(|| Ok(Roster::default()), RosterFile::load).unwrap_or_else(|error| {
        problems.add(chain(&error), error.is_mistake());
        Roster::default()
    })
}
