//! Tables that are narrowed, ordered by their headers and shown page by page: the addresses that lead from one view to
//! another.

use std::fmt::Display;

use kt_domain::order::{KeyColumn, MemberColumn, Order, SessionColumn};
use url::form_urlencoded;

/// A column by which a table can be ordered.
pub(crate) trait Column: Copy + PartialEq + Display {
    /// The order that a first press of its header asks for: names from the beginning, and of moments what people look
    /// for first.
    fn first(self) -> Order<Self>;
}

impl Column for MemberColumn {
    fn first(self) -> Order<Self> {
        match self {
            Self::Name | Self::Email => Order::up(self),
            Self::Created | Self::LastSignIn => Order::down(self),
        }
    }
}

impl Column for KeyColumn {
    fn first(self) -> Order<Self> {
        match self {
            Self::Name | Self::Ends => Order::up(self),
            Self::Created | Self::LastUsed => Order::down(self),
        }
    }
}

impl Column for SessionColumn {
    fn first(self) -> Order<Self> {
        match self {
            Self::Email => Order::up(self),
            Self::Created | Self::Active => Order::down(self),
        }
    }
}

/// A table as it is shown.
pub(crate) struct Table<C> {
    path: &'static str,
    order: Order<C>,
    /// What narrows it: the parameters that are not empty.
    filters: Vec<(&'static str, String)>,
}

impl<C: Column> Table<C>
where
    Order<C>: Default + PartialEq,
{
    /// The table of this page, in this order, narrowed by these parameters.
    pub(crate) fn new<const N: usize>(
        path: &'static str,
        order: Order<C>,
        filters: [(&'static str, &str); N],
    ) -> Self {
        let given = filters.into_iter().filter(|(_, value)| !value.is_empty());
        Self { path, order, filters: given.map(|(name, value)| (name, value.to_owned())).collect() }
    }

    /// The page.
    pub(crate) fn path(&self) -> &'static str {
        self.path
    }

    /// How it is ordered by this column, as `aria-sort` says it; `None` where it is ordered by another.
    pub(crate) fn sorted(&self, column: &C) -> Option<&'static str> {
        let direction = if self.order.descending { "descending" } else { "ascending" };
        (self.order.by == *column).then_some(direction)
    }

    /// Leads to the same in the order of this column, and from there to the opposite order.
    pub(crate) fn by(&self, column: &C) -> String {
        let opposite = Order { by: *column, descending: !self.order.descending };
        let order = if self.order.by == *column { opposite } else { column.first() };
        address(self.path, order, self.filters.iter().cloned())
    }

    /// Leads to the whole table, narrowed by this parameter alone, in the same order.
    pub(crate) fn narrowed(&self, name: &'static str, value: &str) -> String {
        let filter = Some((name, value.to_owned())).filter(|(_, value)| !value.is_empty());
        address(self.path, self.order, filter)
    }

    /// Leads to the page behind this one.
    pub(crate) fn next(&self, cursor: &str) -> String {
        let filters = self.filters.iter().cloned().chain([("cursor", cursor.to_owned())]);
        address(self.path, self.order, filters)
    }

    /// Leads to all of its pages as a file.
    pub(crate) fn export(&self) -> String {
        address(&format!("{}/export", self.path), self.order, self.filters.iter().cloned())
    }

    /// What a search in it keeps.
    pub(crate) fn kept(&self) -> Vec<(&'static str, String)> {
        let order = sort(self.order);
        self.filters.iter().filter(|(name, _)| *name != "q").cloned().chain(order).collect()
    }
}

/// The address of a table in this order, with these filters.
fn address<C: Column>(
    path: &str,
    order: Order<C>,
    filters: impl IntoIterator<Item = (&'static str, String)>,
) -> String
where
    Order<C>: Default + PartialEq,
{
    let pairs: Vec<_> = filters.into_iter().chain(sort(order)).collect();
    if pairs.is_empty() {
        return path.to_owned();
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("{path}?{query}")
}

/// The parameter that asks for an order, where it is not the usual one.
fn sort<C: Column>(order: Order<C>) -> Option<(&'static str, String)>
where
    Order<C>: Default + PartialEq,
{
    (order != Order::default()).then(|| ("sort", order.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_leads_to_its_order_and_then_to_the_opposite_and_keeps_what_narrows() {
        let usual = Table::new("/members", Order::default(), [("q", "a&b"), ("mfa", "")]);
        assert_eq!(usual.sorted(&MemberColumn::Created), Some("ascending"));
        assert_eq!(usual.sorted(&MemberColumn::Name), None);
        assert_eq!(usual.by(&MemberColumn::Name), "/members?q=a%26b&sort=name");
        assert_eq!(usual.by(&MemberColumn::LastSignIn), "/members?q=a%26b&sort=-last_sign_in");
        assert_eq!(usual.by(&MemberColumn::Created), "/members?q=a%26b&sort=-created");
        let named = Table::new("/members", Order::up(MemberColumn::Name), [("q", ""), ("mfa", "late")]);
        assert_eq!(named.by(&MemberColumn::Name), "/members?mfa=late&sort=-name");
        assert_eq!(named.next("c"), "/members?mfa=late&cursor=c&sort=name");
        assert_eq!(named.narrowed("mfa", "missing"), "/members?mfa=missing&sort=name");
        assert_eq!(named.narrowed("mfa", ""), "/members?sort=name");
        assert_eq!(named.export(), "/members/export?mfa=late&sort=name");
        assert_eq!(named.kept(), [("mfa", "late".to_owned()), ("sort", "name".to_owned())]);
        let backwards = Table::new("/members", Order::down(MemberColumn::Created), []);
        assert_eq!(backwards.by(&MemberColumn::Created), "/members", "the usual order needs no word");
    }
}
