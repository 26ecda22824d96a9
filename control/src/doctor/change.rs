//! What `doctor --fix` can set: only what can be read before, so that it can be set back.

use std::fmt;
use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use super::Host;
use super::device::Devices;

/// Something that has a value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "setting", rename_all = "kebab-case")]
pub enum Setting {
    /// A file of `/proc` or `/sys`.
    File {
        /// Its path.
        path: String,
    },
    /// Whether an interface is switched on: `up` or `down`.
    Link {
        /// Its name.
        device: String,
    },
    /// A feature of an interface: `on` or `off`.
    Feature {
        /// Its name.
        device: String,
        /// The feature's, as the kernel calls it.
        feature: String,
    },
    /// How many descriptors an interface's rings have, such as `rx 512 tx 512`.
    Rings {
        /// Its name.
        device: String,
    },
    /// How many queues an interface has, such as `combined 4`.
    Channels {
        /// Its name.
        device: String,
    },
}

/// A setting, and what it shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What is set.
    #[serde(flatten)]
    pub setting: Setting,
    /// To which value.
    pub to: String,
}

impl Change {
    pub(super) fn file(path: impl Into<String>, to: impl Into<String>) -> Change {
        Change { setting: Setting::File { path: path.into() }, to: to.into() }
    }

    pub(super) fn feature_off(device: &str, feature: &str) -> Change {
        let setting = Setting::Feature { device: device.to_owned(), feature: feature.to_owned() };
        Change { setting, to: "off".to_owned() }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path } => f.write_str(path),
            Self::Link { device } => write!(f, "{device}: link"),
            Self::Feature { device, feature } => write!(f, "{device}: {feature}"),
            Self::Rings { device } => write!(f, "{device}: rings"),
            Self::Channels { device } => write!(f, "{device}: queues"),
        }
    }
}

/// `IFF_UP` of netdevice(7).
const UP: u64 = 1;

fn flags_of(device: &str) -> String {
    format!("/sys/class/net/{device}/flags")
}

fn hexadecimal(text: &str) -> io::Result<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).map_err(io::Error::other)
}

/// What a file says, of words in a row the one in brackets.
fn chosen(text: &str) -> String {
    let word = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    word.map_or(text.trim(), |(word, _)| word).to_owned()
}

impl Setting {
    /// Its value now.
    ///
    /// # Errors
    /// When it is not there, or can't be asked.
    pub(super) fn read(&self, host: &Host) -> io::Result<String> {
        match self {
            Self::File { path } => fs::read_to_string(host.path(path)).map(|text| chosen(&text)),
            Self::Link { device } => {
                let flags = hexadecimal(fs::read_to_string(host.path(&flags_of(device)))?.trim())?;
                Ok(if flags & UP != 0 { "up" } else { "down" }.to_owned())
            }
            Self::Feature { device, feature } => {
                let on = Devices::new()?.features(device)?.iter().any(|(name, _)| name == feature);
                Ok(if on { "on" } else { "off" }.to_owned())
            }
            Self::Rings { device } => Ok(Devices::new()?.rings(device)?.now()),
            Self::Channels { device } => Ok(Devices::new()?.channels(device)?.now()),
        }
    }

    /// Gives it a value.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn write(&self, host: &Host, to: &str) -> io::Result<()> {
        match self {
            Self::File { path } => put(host, path, to),
            Self::Link { device } => {
                let path = flags_of(device);
                let flags = hexadecimal(fs::read_to_string(host.path(&path))?.trim())?;
                let flags = if to == "up" { flags | UP } else { flags & !UP };
                put(host, &path, &format!("{flags:#x}"))
            }
            Self::Feature { device, feature } => Devices::new()?.set_feature(device, feature, to == "on"),
            Self::Rings { device } => Devices::new()?.set_rings(device, to),
            Self::Channels { device } => Devices::new()?.set_channels(device, to),
        }
    }
}

/// Writes a file that is there. None is made: a value that the kernel does not have is no value.
fn put(host: &Host, path: &str, to: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).truncate(true).open(host.path(path))?;
    io::Write::write_all(&mut file, format!("{to}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_by_their_chosen_word_and_never_made() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::at(folder.path());
        fs::write(folder.path().join("enabled"), "always [madvise] never\n").unwrap();
        let setting = Setting::File { path: "/enabled".into() };
        assert_eq!(setting.read(&host).unwrap(), "madvise");
        setting.write(&host, "never").unwrap();
        assert_eq!(setting.read(&host).unwrap(), "never");
        let missing = Setting::File { path: "/missing".into() };
        assert!(missing.write(&host, "1").is_err() && !folder.path().join("missing").exists());
    }

    #[test]
    fn a_link_keeps_its_other_flags() {
        let folder = tempfile::tempdir().unwrap();
        let sys = folder.path().join("sys/class/net/eth1");
        fs::create_dir_all(&sys).unwrap();
        fs::write(sys.join("flags"), "0x1102\n").unwrap();
        let (host, link) = (Host::at(folder.path()), Setting::Link { device: "eth1".into() });
        assert_eq!(link.read(&host).unwrap(), "down");
        link.write(&host, "up").unwrap();
        assert_eq!(fs::read_to_string(sys.join("flags")).unwrap(), "0x1103\n");
    }
}
