//! The disk that carries cloud-init's files: FAT, labelled as the datasource
//! NoCloud wants it. The same files give the same bytes.

use std::io::{self, Cursor, Write};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};

use super::cloud_init::SeedFiles;

/// Padded with spaces, as FAT keeps it.
const LABEL: [u8; 11] = *b"CIDATA     ";

/// "nsvm": a serial number that does not depend on the clock.
const VOLUME_ID: u32 = 0x6e73_766d;

/// Whole MiB, so that every disk layer is content.
const GRAIN: usize = 1 << 20;

/// FAT's own tables and the last cluster of each file.
const OVERHEAD: usize = 256 << 10;

/// The disk's bytes.
pub fn disk(files: &SeedFiles) -> io::Result<Vec<u8>> {
    let named = [
        ("meta-data", &files.meta_data),
        ("user-data", &files.user_data),
        ("network-config", &files.network_config),
    ];
    let content: usize = named.iter().map(|(_, text)| text.len()).sum();
    let mut bytes = vec![0; (content + OVERHEAD).next_multiple_of(GRAIN)];
    let options = FormatVolumeOptions::new().volume_id(VOLUME_ID).volume_label(LABEL);
    format_volume(Cursor::new(&mut bytes), options)?;
    let volume = FileSystem::new(Cursor::new(&mut bytes), FsOptions::new())?;
    for (name, text) in named {
        let mut file = volume.root_dir().create_file(name)?;
        file.truncate()?;
        file.write_all(text.as_bytes())?;
        file.flush()?;
    }
    volume.unmount()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn files(user_data: String) -> SeedFiles {
        SeedFiles { meta_data: "m".into(), user_data, network_config: "n".into() }
    }

    #[test]
    fn what_goes_in_can_be_read_back_under_the_label() {
        let user_data = "#cloud-config\n".repeat(200_000);
        let mut bytes = disk(&files(user_data.clone())).unwrap();
        assert_eq!(bytes.len() % GRAIN, 0);
        let volume = FileSystem::new(Cursor::new(&mut bytes), FsOptions::new()).unwrap();
        assert_eq!(volume.volume_label(), "CIDATA");
        assert_eq!(volume.read_volume_label_from_root_dir().unwrap().unwrap(), "CIDATA");
        let mut read = String::new();
        volume.root_dir().open_file("user-data").unwrap().read_to_string(&mut read).unwrap();
        assert!(read == user_data);
    }

    #[test]
    fn the_same_files_give_the_same_disk() {
        let small = || disk(&files("#!/bin/sh\n".into())).unwrap();
        assert_eq!(small().len(), GRAIN);
        assert!(small() == small());
    }
}
