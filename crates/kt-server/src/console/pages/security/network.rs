//! From where the organization is reached: two lists that are put together on the page, tried out there, and saved as a
//! whole.

use std::net::IpAddr;

use axum::extract::State;
use kt_control::{Expected, LockOutPreview};
use kt_domain::error::Error;
use kt_domain::network::console_rules::{AppliesTo, ConsoleRules, IpRestrictions, LabelledRange};
use kt_domain::words;
use serde::Deserialize;

use super::forms::Checked;
use super::{PAGE, ranges, show_with};
use crate::Doors;
use crate::console::answer::{Answer, see_and_say};
use crate::console::pages::Fields;
use crate::console::visit::{SignedIn, Visit};

/// The most ranges of a list that are shown as rows; the text holds all.
const MOST_ROWS: usize = 200;

/// The restrictions in the page's form.
pub(super) struct Network {
    /// The version that they are based on.
    pub(super) version: String,
    pub(super) restrictions: IpRestrictions,
    /// The address of whoever looks.
    pub(super) your_ip: Option<IpAddr>,
    /// What they would do, where they are not saved yet.
    pub(super) draft: Option<Draft>,
}

/// What restrictions that are not saved would do.
pub(super) struct Draft {
    pub(super) preview: LockOutPreview,
    /// Whether saving them was refused, since they would shut out whoever asked.
    pub(super) is_refused: bool,
}

/// One of the two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Allow,
    Deny,
}

words!(List { Allow = "allow", Deny = "deny" });

impl Network {
    /// Those in force.
    pub(super) async fn kept(doors: &Doors, visit: &Visit) -> Result<Self, Error> {
        let view = doors.control.ip_restrictions(&visit.ctx).await?;
        Ok(Self {
            version: view.version,
            restrictions: view.restrictions,
            your_ip: view.your_ip,
            draft: None,
        })
    }

    /// Those that somebody has put together, with what they would do.
    async fn draft(
        doors: &Doors,
        visit: &Visit,
        version: String,
        restrictions: IpRestrictions,
        is_refused: bool,
    ) -> Result<Self, Error> {
        let preview = doors.control.preview_ip_restrictions(&visit.ctx, &restrictions).await?;
        let your_ip = preview.your_ip;
        Ok(Self { version, restrictions, your_ip, draft: Some(Draft { preview, is_refused }) })
    }

    /// Whether the address of whoever looks is let in.
    pub(super) fn lets_you_in(&self) -> bool {
        ConsoleRules::from(&self.restrictions).decide_source(self.your_ip).is_ok()
    }

    /// The first ranges of both lists, with the list that each is in.
    pub(super) fn rows(&self) -> Vec<(List, &LabelledRange)> {
        let IpRestrictions { allow, deny, .. } = &self.restrictions;
        let deny = deny.iter().take(MOST_ROWS).map(|range| (List::Deny, range));
        let allow = allow.iter().take(MOST_ROWS).map(|range| (List::Allow, range));
        deny.chain(allow).collect()
    }

    /// How many ranges have no row.
    pub(super) fn without_row(&self) -> usize {
        self.restrictions.allow.len() + self.restrictions.deny.len() - self.rows().len()
    }

    pub(super) fn allow_text(&self) -> String {
        ranges::write(&self.restrictions.allow)
    }

    pub(super) fn deny_text(&self) -> String {
        ranges::write(&self.restrictions.deny)
    }
}

/// The restrictions to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Restrictions {
    version: String,
    enforce_allowlist: Option<Checked>,
    applies_to: AppliesTo,
    allow: String,
    deny: String,
    confirm_lockout: Option<Checked>,
}

/// Saves them (R33). Where they would shut out whoever asks, nothing is saved, and the page asks whether that is meant.
pub(crate) async fn save(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<Restrictions>,
) -> Answer {
    let restrictions = read(form.enforce_allowlist, form.applies_to, &form.allow, &form.deny)?;
    let expected = Expected::OneOf(vec![form.version.clone()]);
    let is_confirmed = form.confirm_lockout.is_some();
    let saved =
        doors.control.replace_ip_restrictions(&visit.ctx, &expected, restrictions.clone(), is_confirmed);
    match saved.await {
        Ok(_) => {
            let said = "The IP restrictions were saved. They are in force.";
            Ok(see_and_say(&doors, PAGE, visit.look.language.text(said)))
        }
        Err(error) if error.code == "would_lock_out" => {
            let draft = Network::draft(&doors, &visit, form.version, restrictions, true).await?;
            show_with(&doors, &visit, Some(draft)).await
        }
        Err(error) => Err(error.into()),
    }
}

/// The restrictions as they stand in the form, and one range to add or to remove.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Drafted {
    version: String,
    enforce_allowlist: Option<Checked>,
    applies_to: AppliesTo,
    allow: String,
    deny: String,
    #[serde(rename = "confirm_lockout")]
    _confirm_lockout: Option<Checked>,
    /// To which list the range is added.
    list: Option<List>,
    cidr: Option<String>,
    label: Option<String>,
    /// The list and the range to remove, such as `allow 10.0.0.0/8`.
    remove: Option<String>,
}

/// Shows what the restrictions would be and do. Nothing is saved.
pub(crate) async fn draft(
    State(doors): State<Doors>,
    SignedIn { visit, .. }: SignedIn,
    Fields(form): Fields<Drafted>,
) -> Answer {
    let mut restrictions = read(form.enforce_allowlist, form.applies_to, &form.allow, &form.deny)?;
    if let (Some(list), Some(cidr)) = (form.list, form.cidr) {
        let range = ranges::range(&cidr, form.label.as_deref().unwrap_or_default())?;
        let ranges = list.of(&mut restrictions);
        ranges.retain(|kept| kept.cidr != range.cidr);
        ranges.push(range);
    }
    if let Some((list, cidr)) = form.remove.as_deref().and_then(|remove| remove.split_once(' ')) {
        let list: List = list.parse().map_err(|why| Error::invalid("remove", format!("{why}")))?;
        list.of(&mut restrictions).retain(|kept| kept.cidr.to_string() != cidr);
    }
    let draft = Network::draft(&doors, &visit, form.version, restrictions, false).await?;
    show_with(&doors, &visit, Some(draft)).await
}

impl List {
    fn of(self, restrictions: &mut IpRestrictions) -> &mut Vec<LabelledRange> {
        match self {
            Self::Allow => &mut restrictions.allow,
            Self::Deny => &mut restrictions.deny,
        }
    }
}

fn read(
    enforce: Option<Checked>,
    applies_to: AppliesTo,
    allow: &str,
    deny: &str,
) -> Result<IpRestrictions, Error> {
    Ok(IpRestrictions {
        enforce_allowlist: enforce.is_some(),
        applies_to,
        allow: ranges::read("allow", allow)?,
        deny: ranges::read("deny", deny)?,
    })
}
