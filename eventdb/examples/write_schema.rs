//! Renews `eventdb/schema.json` from the constants in `eventdb/src/schema.rs`.

fn main() -> std::io::Result<()> {
    std::fs::write(
        concat!(env!("CARGO_MANIFEST_DIR"), "/schema.json"),
        eventdb::internals::schema::document_text(),
    )
}
