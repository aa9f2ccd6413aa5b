//! `kt config …`: the configurations that the control plane keeps: listed, shown, saved, compared, rolled out.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kt_domain::configurations::{DiffLine, Fate, KeptName, difference};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::{Api, ApiAddress, ApiError, Call};
use crate::commands::reading::{empty_table, printable, printable_lines};
use crate::config::read_sources;
use crate::failure::Failure;
use crate::output;

/// Where they are.
const CONFIGURATIONS: &str = "/v1/configurations";

/// The configurations that the control plane keeps.
#[derive(Subcommand)]
pub(crate) enum Config {
    /// List them, with what gateways are told to run
    List(List),
    /// Print a version
    Show(Show),
    /// Save a file as the newest version; no gateway runs it until it is rolled out
    Push(Push),
    /// Say what has to change in one version to make it another
    Diff(Diff),
    /// Tell gateways to run a version; an older one rolls back
    Rollout(Rollout),
}

impl Config {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(),
            Self::Show(show) => show.run(),
            Self::Push(push) => push.run(),
            Self::Diff(diff) => diff.run(),
            Self::Rollout(rollout) => rollout.run(),
        }
    }
}

/// List them, with what gateways are told to run
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    api: ApiAddress,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let configurations = self.api.open()?.list(CONFIGURATIONS, "configurations", &[])?;
        if self.json {
            output::list("configurations", &configurations);
            return Ok(());
        }
        if configurations.is_empty() {
            output::complain("There are none yet. `kt config push NAME --file FILE` saves one.");
            return Ok(());
        }
        let text = |value: &Value| printable(value.as_str().unwrap_or("-"));
        let mut table = empty_table(&["name", "newest", "all gateways run", "single ones run"]);
        for configuration in &configurations {
            let single = configuration["for_single"].as_array().into_iter().flatten().map(text);
            let single: Vec<String> = single.collect();
            table.add_row([
                text(&configuration["name"]),
                text(&configuration["newest"]["id"]),
                text(&configuration["for_all"]),
                if single.is_empty() { "-".to_owned() } else { single.join(" ") },
            ]);
        }
        output::line(table);
        Ok(())
    }
}

/// A version as the API shows it.
#[derive(Deserialize)]
struct Version {
    id: String,
    text: String,
}

/// The version of this number, or the newest.
fn version<T: DeserializeOwned>(api: &Api, name: &KeptName, number: Option<u32>) -> Result<T, Failure> {
    let number = number.map_or_else(|| "newest".to_owned(), |number| number.to_string());
    let call = Call::get(CONFIGURATIONS).segment(name.as_str()).segment("versions").segment(&number);
    Ok(api.ask(&call)?)
}

/// Print a version
#[derive(Args)]
pub(crate) struct Show {
    /// The configuration
    name: KeptName,
    /// The number of the version; the newest without it
    number: Option<u32>,
    #[command(flatten)]
    api: ApiAddress,
    /// Print JSON: the version with what is known of it
    #[arg(long)]
    json: bool,
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let api = self.api.open()?;
        if self.json {
            output::line(version::<Value>(&api, &self.name, self.number)?);
        } else {
            output::line(printable_lines(&version::<Version>(&api, &self.name, self.number)?.text));
        }
        Ok(())
    }
}

/// Save a file as the newest version; no gateway runs it until it is rolled out
#[derive(Args)]
pub(crate) struct Push {
    /// The configuration; one that is not there is made
    name: KeptName,
    /// The file
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,
    /// Why, for those who come after you
    #[arg(long, default_value = "")]
    note: String,
    /// The number of the version that the file was made from: refused when another has been saved since
    #[arg(long, value_name = "NUMBER")]
    from: Option<u32>,
    #[command(flatten)]
    api: ApiAddress,
    /// Print what was saved as JSON
    #[arg(long)]
    json: bool,
}

impl Push {
    fn run(self) -> Result<(), Failure> {
        let sources = read_sources(std::slice::from_ref(&self.file))?;
        let text = sources.into_iter().next().map(|source| source.text).unwrap_or_default();
        let api = self.api.open()?;
        let mut body = json!({ "text": text, "note": self.note });
        let mut save =
            Call::post(CONFIGURATIONS).segment(self.name.as_str()).segment("versions").body(body.clone());
        if let Some(number) = self.from {
            save = save.if_match(number);
        }
        let saved: Version = match api.ask(&save) {
            Err(ApiError::Refused { code, .. }) if code == "not_found" => {
                body["name"] = self.name.as_str().into();
                api.ask(&Call::post(CONFIGURATIONS).body(body))?
            }
            outcome => outcome?,
        };
        let sentence = printable(&format!("saved as {}", saved.id));
        if !self.json {
            output::complain("Gateways run it once it is rolled out, by `kt config rollout`.");
        }
        output::done(self.json, sentence, json!({ "id": saved.id }));
        Ok(())
    }
}

/// Say what has to change in one version to make it another
#[derive(Args)]
pub(crate) struct Diff {
    /// The configuration
    name: KeptName,
    /// The number of the older version
    before: u32,
    /// The number of the newer one; the newest without it
    after: Option<u32>,
    #[command(flatten)]
    api: ApiAddress,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Diff {
    fn run(self) -> Result<(), Failure> {
        let api = self.api.open()?;
        let before: Version = version(&api, &self.name, Some(self.before))?;
        let after: Version = version(&api, &self.name, self.after)?;
        if self.json {
            let groups = difference(&before.text, &after.text);
            let groups: Vec<Vec<_>> =
                groups.iter().map(|group| group.iter().map(line_as_json).collect()).collect();
            output::line(json!({ "before": before.id, "after": after.id, "groups": groups }));
            return Ok(());
        }
        output::line(printable(&format!("--- {}", before.id)));
        output::line(printable(&format!("+++ {}", after.id)));
        for group in difference(&before.text, &after.text) {
            output::line(place(&group));
            for line in group {
                let (sign, _) = name_of(line.fate);
                output::line(format!("{sign}{}", printable(&line.text)));
            }
        }
        Ok(())
    }
}

/// What stands before a line with this fate, and what the fate is called.
fn name_of(fate: Fate) -> (char, &'static str) {
    match fate {
        Fate::Kept => (' ', "kept"),
        Fate::Removed => ('-', "removed"),
        Fate::Added => ('+', "added"),
    }
}

/// The line with its number in each of the texts that has it.
fn line_as_json(line: &DiffLine) -> Value {
    let (_, fate) = name_of(line.fate);
    json!({ "fate": fate, "before": line.before, "after": line.after, "text": line.text })
}

/// Where a group of lines begins in both texts.
fn place(group: &[DiffLine]) -> String {
    let first = |number: fn(&DiffLine) -> Option<usize>| group.iter().find_map(number).unwrap_or(0);
    format!("@@ -{} +{} @@", first(|line| line.before), first(|line| line.after))
}

/// Tell gateways to run a version; an older one rolls back
#[derive(Args)]
pub(crate) struct Rollout {
    /// The configuration
    name: KeptName,
    /// The number of the version
    number: u32,
    /// A gateway to tell; may be given again. All are told without it, those that are yet to come too
    #[arg(long = "gateway", value_name = "ID")]
    gateways: Vec<String>,
    #[command(flatten)]
    api: ApiAddress,
    /// Print what was told as JSON
    #[arg(long)]
    json: bool,
}

impl Rollout {
    fn run(self) -> Result<(), Failure> {
        let api = self.api.open()?;
        let gateways = (!self.gateways.is_empty()).then_some(&self.gateways);
        let body = json!({ "version": self.number, "gateways": gateways });
        let call = Call::post(CONFIGURATIONS).segment(self.name.as_str()).segment("rollout").body(body);
        api.tell(&call)?;
        let told =
            if self.gateways.is_empty() { "all gateways".to_owned() } else { self.gateways.join(", ") };
        let id = format!("{}@{}", self.name, self.number);
        let sentence = printable(&format!("{id}: told to {told}"));
        output::done(self.json, sentence, json!({ "id": id, "gateways": gateways }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_lines_says_where_it_begins() {
        let groups = difference("a\nb\nc\nd\ne\nf\n", "a\nb\nc\nd\ne\nF\n");
        assert_eq!(place(&groups[0]), "@@ -3 +3 @@");
        assert_eq!(place(&difference("", "a\n")[0]), "@@ -0 +1 @@");
    }
}
