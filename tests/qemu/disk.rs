//! The smallest qcow2 there is (docs/interop/qcow2.txt in QEMU's tree), so
//! that these tests need no other tool.

use std::path::Path;

const CLUSTER: usize = 1 << 16;

/// Clusters: 0 header, 1 refcount table, 2 refcount block, 3 L1 table.
pub fn create_empty(path: &Path) {
    let mut image = vec![0; 4 * CLUSTER];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    let offset = |cluster: usize| (cluster * CLUSTER).to_be_bytes();
    put(0, b"QFI\xfb");
    put(4, &2_u32.to_be_bytes()); // version
    put(20, &16_u32.to_be_bytes()); // cluster bits
    put(24, &(1_u64 << 20).to_be_bytes()); // virtual size
    put(36, &1_u32.to_be_bytes()); // L1 entries
    put(40, &offset(3));
    put(48, &offset(1));
    put(56, &1_u32.to_be_bytes()); // clusters of the refcount table
    put(CLUSTER, &offset(2));
    for used in 0..4 {
        put(2 * CLUSTER + 2 * used, &1_u16.to_be_bytes());
    }
    std::fs::write(path, image).unwrap();
}
