//! The rights that the documentation gives Lockstep's user of Redis: tests run with these and no more.

/// Name and password of that user.
pub(crate) const NAME: &str = "lockstep";

/// The user that the documentation gives Lockstep, with all that it says may be needed, for all keys: whatever is tested
/// here is tested with these rights and no more.
pub(crate) fn user() -> Vec<String> {
    let page = include_str!("../../docs/redis.md");
    let line = page
        .lines()
        .find(|line| line.starts_with("    ACL SETUSER lockstep"));
    let documented = line
        .unwrap()
        .split(' ')
        .filter(|word| word.starts_with(['+', '-']));
    let (_, table) = page.split_once("| also | for |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let further = rows.flat_map(|row| row.split('`').nth(1).unwrap().split(' '));
    let further = further.map(|right| right.replace("\\|", "|"));
    [
        "--user",
        NAME,
        "on",
        &format!(">{NAME}"),
        "resetkeys",
        "resetchannels",
    ]
    .into_iter()
    .chain(documented)
    .map(str::to_owned)
    .chain(further)
    .chain(["~*".to_owned()])
    .collect()
}
