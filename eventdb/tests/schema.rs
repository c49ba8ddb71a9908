//! The committed `schema.json`, which the infrastructure reads, says what the code says.

#[test]
fn the_schema_file_is_fresh() {
    let file = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schema.json"))
        .unwrap_or_default();
    assert!(
        file == eventdb::internals::schema::document_text(),
        "eventdb/schema.json is not what src/schema.rs makes. Renew it:\n\n    \
         cargo run -p eventdb --example write_schema\n"
    );
}
