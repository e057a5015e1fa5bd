//! Files from the web, kept only if they are what they are said to be.

use super::catalogue::{Entry, Sum, sum_in};
use crate::progress::Progress;
use anyhow::{Context, Result, anyhow, ensure};
use ring::digest::{Context as Digest, SHA256, SHA512};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;
use ureq::Agent;
use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig};

/// A server that does not answer in this time is not there.
const TO_ANSWER: Duration = Duration::from_secs(30);
/// No list of sums is larger.
const LONGEST_LIST: u64 = 4 << 20;

fn agent() -> Agent {
    let tls = TlsConfig::builder().root_certs(RootCerts::WebPki).build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .timeout_connect(Some(TO_ANSWER))
        .timeout_recv_response(Some(TO_ANSWER))
        .user_agent(concat!("ireko/", env!("CARGO_PKG_VERSION")));
    config.build().into()
}

fn open(url: &str) -> Result<Response<ureq::Body>> {
    agent().get(url).call().map_err(|error| anyhow!("{url} cannot be fetched: {error}"))
}

/// By which sum an image is known.
pub fn sum_of(entry: &Entry) -> Result<Sum> {
    if let Some(sum) = entry.sha256.as_deref().or(entry.sha512.as_deref()).and_then(Sum::parse) {
        return Ok(sum);
    }
    let url = entry.sums.as_deref().context("the image has no sum")?;
    let mut list = String::new();
    let body = open(url)?.into_body().into_reader();
    body.take(LONGEST_LIST).read_to_string(&mut list).with_context(|| format!("{url} cannot be read"))?;
    sum_in(&list, &entry.url)
}

/// Gets a file, which then has this sum.
pub fn file(name: &str, url: &str, sum: &Sum, target: &Path, progress: &Progress) -> Result<()> {
    let response = open(url)?;
    let length = response.body().content_length();
    if let (Some(length), Some(place)) = (length, target.parent()) {
        let free = crate::sys::free_space(place)?;
        ensure!(
            free > length,
            "{name} has {}, and {} are free in {}",
            crate::size::show(length),
            crate::size::show(free),
            place.display()
        );
    }
    let step = match length {
        Some(_) => progress.percent(&format!("download {name}")),
        None => progress.step(&format!("download {name}")),
    };
    let mut file = File::create_new(target).with_context(|| format!("cannot write {}", target.display()))?;
    let mut digest = Digest::new(if matches!(sum, Sum::Sha256(_)) { &SHA256 } else { &SHA512 });
    let mut body = response.into_body().into_reader();
    let (mut buffer, mut got) = (vec![0; 256 << 10], 0u64);
    loop {
        let count = body.read(&mut buffer).with_context(|| format!("{url} broke off after {got} bytes"))?;
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
        file.write_all(&buffer[..count]).with_context(|| format!("cannot write {}", target.display()))?;
        got += count as u64;
        if let Some(length) = length.filter(|length| *length > 0) {
            step.percent(got as f64 * 100.0 / length as f64);
        }
    }
    let found: String = digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(
        found == sum.text(),
        "{url} is not what the list says: its sum is {found}, and {} is expected; nothing is kept",
        sum.text()
    );
    file.sync_all()?;
    step.done();
    Ok(())
}
