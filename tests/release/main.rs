//! `.github/workflows/release.yml` is what GitHub would run: its form by models
//! of GitHub's syntax and a parser of its expressions, and that what it names
//! (jobs, artifacts, scripts, targets of make, tests) is there.

mod lint;

use std::path::Path;

use lint::problems;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn workflow() -> String {
    std::fs::read_to_string(root().join(".github/workflows/release.yml")).unwrap()
}

#[test]
fn nothing_is_wrong_with_it() {
    assert_eq!(problems(&workflow(), root()), Vec::<String>::new());
}

/// Each line breaks the file in one place, and is complained of.
#[test]
fn each_fault_is_told() {
    let sound = workflow();
    for (from, to, complaint) in [
        ("jobs:\n", "jobs: [\n", "not YAML"),
        ("    steps:\n", "    stepz:\n", "steps"),
        ("    timeout-minutes: 120\n", "    timeout-minuts: 120\n", "\"timeout-minuts\""),
        ("    timeout-minutes: 120\n", "", "linux: no timeout-minutes"),
        ("          persist-credentials", "        persist-credentials", "\"persist-credentials\""),
        ("    needs: linux\n", "    needs: linus\n", "macos: needs \"linus\""),
        ("    needs: linux\n", "    needs: publish\n", "needs itself"),
        ("    permissions:\n      contents: read\n", "", "linux: no permissions"),
        ("permissions: {}\n", "permissions: write-all\n", "the workflow's own permissions"),
        ("      contents: read\n", "      content: read\n", "content"),
        (
            "actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683",
            "actions/checkout@v4",
            "not a commit",
        ),
        ("${{ matrix.target }}", "${{ matrix.target }", "no end"),
        ("${{ matrix.target }}", "${{ matrix.target || }}", "matrix.target ||"),
        ("${{ matrix.target }}", "${{ matrix.targets }}", "\"matrix.targets\""),
        ("${{ github.workspace }}", "${{ guthub.workspace }}", "\"guthub\""),
        ("make dist DIST=dist", "make dits DIST=dist", "make has no \"dits\""),
        ("sh packaging/dist.sh", "sh packaging/dist.bash", "\"packaging/dist.bash\""),
        ("--test layers", "--test layer", "no test \"layer\""),
        ("sh packaging/dist.sh dist \"$TARGET\"", "sh packaging/dist.sh dist \"$TARGET", "sh -n"),
        ("\"$TARGET\"", "\"${{ github.ref_name }}\"", "expression in a script"),
        (
            "          name: agents\n          path: agents\n",
            "          name: agent\n          path: agents\n",
            "artifact \"agent\"",
        ),
        (
            "      - run: make dist DIST=dist\n",
            "      - run: make dist DIST=dist\n        uses: x/y@1\n",
            "a step",
        ),
        ("    runs-on: windows-2025\n", "", "runs-on"),
        ("macos-15-intel", "macos-15-intle", "\"macos-15-intle\""),
    ] {
        assert!(sound.contains(from), "the file has no {from:?}");
        let found = problems(&sound.replacen(from, to, 1), root());
        assert!(found.iter().any(|told| told.contains(complaint)), "{to:?}: {found:#?}");
    }
}
