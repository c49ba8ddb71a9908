//! Whether the table has the settings that a store needs.

use crate::feed::examine::Problem;
use crate::store::error::Error;
use crate::store::table::Table;
use crate::store::table::settings::Settings;

pub(super) async fn examine(table: &Table) -> Result<Vec<Problem>, Error> {
    let Settings { wrong_indexes, has_stream, has_new_images, recovery, is_protected } =
        table.begin().settings().await?;
    let mut problems: Vec<Problem> = wrong_indexes
        .into_iter()
        .map(|text| Problem::Setting { name: "wrongIndex", text })
        .collect();
    let mut lacks = |name, is_wrong: bool, text: &str| {
        if is_wrong {
            problems.push(Problem::Setting { name, text: text.to_owned() });
        }
    };
    lacks("noStream", !has_stream, "the table has no stream, so nothing is published");
    lacks(
        "wrongStream",
        has_stream && !has_new_images,
        "the stream of the table doesn't have new images, so nothing can be published",
    );
    lacks(
        "noPointInTimeRecovery",
        recovery == Some(false),
        "the table has no point-in-time recovery",
    );
    lacks("notProtected", !is_protected, "the table isn't protected from deletion");
    Ok(problems)
}
