//! What is generated from the command line: completions and manual pages.

use eventdb::TableLayout;

use crate::store::Store;

#[test]
fn completions_and_manual_pages_need_no_store() {
    let store = Store::new("generated", TableLayout::ByTime);
    let run = |arguments: &[&str]| {
        let mut command = store.command(arguments);
        crate::store::ran(command.env_remove("EVENTDB_FILE").output().expect("it starts"))
    };
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = run(&["completions", shell]);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{shell}");
        assert!(
            ran.stdout.contains("republish") && ran.stdout.contains("failure-bucket"),
            "{shell}"
        );
    }
    let page = run(&["man"]);
    assert_eq!((page.status, page.stderr.as_str()), (0, ""));
    assert!(page.stdout.contains(".TH eventdb 1"), "{}", page.stdout);
    let page = run(&["man", "cat"]);
    assert_eq!(page.status, 0);
    assert!(page.stdout.contains(".TH eventdb-cat 1"), "{}", page.stdout);
    assert!(page.stdout.contains("from\\-revision"), "{}", page.stdout);
    let unknown = run(&["man", "unknown"]);
    assert_eq!((unknown.status, unknown.stdout.as_str()), (2, ""));
    assert!(unknown.stderr.contains("there are cat, show"), "{}", unknown.stderr);
}
