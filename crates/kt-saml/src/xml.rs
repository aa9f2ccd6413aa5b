//! XML in a narrow profile: the text of a message as a tree that has no odd corners.
//!
//! There is no document type, no entity, no comment, no processing instruction and no CDATA section in a tree of a message,
//! every ID is there once, and text is text. Each of those has let somebody sign in as somebody else somewhere.

use std::collections::HashSet;

use thiserror::Error;
use uppsala::{Document, NodeId, NodeKind, Parser};

/// How deep elements may lie in each other. A response needs less than twenty.
const MAX_DEPTH: u32 = 64;

/// How many attributes and namespaces a tag may have. The parser's search for equal ones takes the square of it.
const MAX_ATTRIBUTES: usize = 64;

/// The largest message, inflated and decoded.
pub(crate) const MESSAGE_LIMIT: usize = 128 * 1024;

/// Why a text gives no tree.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum XmlError {
    /// It is too long.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    /// It is not UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// It holds a construct that messages do not need.
    #[error("it holds {0}, which is not accepted")]
    NotAccepted(&'static str),
    /// It is not well-formed.
    #[error("it is not well-formed XML: {0}")]
    Malformed(String),
    /// Two elements have the same ID.
    #[error("two elements have the same ID")]
    SameId,
}

/// What a text may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Elements, attributes and text alone, each ID once.
    Message,
    /// Comments too: people keep notes in metadata.
    Metadata,
}

/// A text as a tree.
pub(crate) struct Tree<'a>(Document<'a>);

/// An element of a tree.
#[derive(Clone, Copy)]
pub(crate) struct Element<'t> {
    tree: &'t Tree<'t>,
    id: NodeId,
}

impl<'a> Tree<'a> {
    /// Reads a text of at most `limit` bytes.
    pub(crate) fn read(text: &'a [u8], limit: usize, profile: Profile) -> Result<Self, XmlError> {
        if text.len() > limit {
            return Err(XmlError::TooLarge(limit));
        }
        let text = std::str::from_utf8(text).map_err(|_| XmlError::NotUtf8)?;
        let text = text.trim_start_matches('\u{feff}').trim_ascii();
        look_over(text, profile)?;
        let parser = Parser::new().with_max_depth(MAX_DEPTH).with_forbid_dtd(true).with_forbid_entities(true);
        let tree = Self(parser.parse(text).map_err(|error| XmlError::Malformed(error.to_string()))?);
        if let Some(encoding) = tree.0.xml_declaration.as_ref().and_then(|it| it.encoding.as_deref())
            && !encoding.eq_ignore_ascii_case("utf-8")
        {
            return Err(XmlError::NotUtf8);
        }
        if profile == Profile::Message {
            tree.has_only_elements_and_text()?;
            tree.has_each_id_once()?;
        }
        Ok(tree)
    }

    /// The outermost element.
    pub(crate) fn root(&'a self) -> Option<Element<'a>> {
        self.0.document_element().map(|id| Element { tree: self, id })
    }

    /// The tree as its parser gives it.
    pub(crate) fn document(&self) -> &Document<'a> {
        &self.0
    }

    fn has_only_elements_and_text(&self) -> Result<(), XmlError> {
        for id in self.0.descendants(self.0.root()) {
            match self.0.node_kind(id) {
                Some(NodeKind::Element(_) | NodeKind::Text(_)) => {}
                _ => return Err(XmlError::NotAccepted("something besides elements and text")),
            }
        }
        Ok(())
    }

    /// Whatever somebody might take for an ID counts: `ID` of SAML, `Id` of signatures, `id` and `xml:id` of others.
    fn has_each_id_once(&self) -> Result<(), XmlError> {
        let mut seen = HashSet::new();
        for id in self.0.descendants(self.0.root()) {
            let attributes = self.0.element(id).map_or(&[][..], |element| &element.attributes);
            for attribute in attributes.iter().filter(|it| it.name.local_name.eq_ignore_ascii_case("id")) {
                if attribute.name.namespace_uri.is_some() {
                    return Err(XmlError::NotAccepted("an ID of a foreign namespace"));
                }
                if !seen.insert(&*attribute.value) {
                    return Err(XmlError::SameId);
                }
            }
        }
        Ok(())
    }
}

/// Refuses what the parser shall not even see. A `<` stands only where markup begins (XML 1.0 section 2.4), so nothing can
/// hide from this in a value or in text.
fn look_over(text: &str, profile: Profile) -> Result<(), XmlError> {
    let declaration = if text.starts_with("<?xml ") { text.find("?>").map_or(0, |end| end + 2) } else { 0 };
    let mut rest = &text[declaration..];
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            if profile == Profile::Message {
                return Err(XmlError::NotAccepted("a comment"));
            }
            let end = comment.find("-->").ok_or(XmlError::NotAccepted("a comment without an end"))?;
            rest = &comment[end + 3..];
        } else if rest.starts_with('!') {
            return Err(XmlError::NotAccepted("a document type or a CDATA section"));
        } else if rest.starts_with('?') {
            return Err(XmlError::NotAccepted("a processing instruction"));
        } else if attributes_of(rest)? > MAX_ATTRIBUTES {
            return Err(XmlError::NotAccepted("a tag of too many attributes"));
        }
    }
    Ok(())
}

/// How many attributes the tag has that `text` begins with: each has its `=` outside quotes. A `<` within it is refused, so
/// that no byte is looked at for a second tag.
fn attributes_of(text: &str) -> Result<usize, XmlError> {
    let mut quote = None;
    let mut count = 0;
    for byte in text.bytes() {
        match (quote, byte) {
            (_, b'<') => return Err(XmlError::NotAccepted("a `<` within a tag")),
            (Some(open), _) if byte == open => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'=') => count += 1,
            (None, b'>') => break,
            _ => {}
        }
    }
    Ok(count)
}

impl<'t> Element<'t> {
    /// Where it is in the tree.
    pub(crate) fn node(self) -> NodeId {
        self.id
    }

    /// The tree it belongs to.
    pub(crate) fn tree(self) -> &'t Tree<'t> {
        self.tree
    }

    /// Whether this is its name.
    pub(crate) fn is(self, namespace: &str, name: &str) -> bool {
        self.tree.0.element(self.id).is_some_and(|element| element.matches_name_ns(namespace, name))
    }

    /// Its name without the namespace.
    pub(crate) fn name(self) -> &'t str {
        self.tree.0.element(self.id).map_or("", |element| &element.name.local_name)
    }

    /// An attribute of no namespace.
    pub(crate) fn attribute(self, name: &str) -> Option<&'t str> {
        let attributes = &self.tree.0.element(self.id)?.attributes;
        let found =
            attributes.iter().find(|it| it.name.namespace_uri.is_none() && it.name.local_name == name)?;
        Some(&found.value)
    }

    /// The elements directly in it.
    pub(crate) fn children(self) -> impl Iterator<Item = Element<'t>> {
        let tree = self.tree;
        let elements = tree.0.children_iter(self.id).filter(|id| tree.0.element(*id).is_some());
        elements.map(move |id| Element { tree, id })
    }

    /// Those of this name.
    pub(crate) fn all(self, namespace: &'t str, name: &'t str) -> impl Iterator<Item = Element<'t>> {
        self.children().filter(move |child| child.is(namespace, name))
    }

    /// The first of this name.
    pub(crate) fn child(self, namespace: &'t str, name: &'t str) -> Option<Element<'t>> {
        self.all(namespace, name).next()
    }

    /// The elements in it, at any depth.
    pub(crate) fn descendants(self) -> impl Iterator<Item = Element<'t>> {
        let tree = self.tree;
        let nodes = tree.0.descendants(self.id).into_iter();
        nodes.filter(|id| tree.0.element(*id).is_some()).map(move |id| Element { tree, id })
    }

    /// The element it lies in.
    pub(crate) fn parent(self) -> Option<NodeId> {
        self.tree.0.parent(self.id)
    }

    /// All of its text without the space around it. `None` where there are elements in it.
    pub(crate) fn text(self) -> Option<String> {
        let has_elements = self.children().next().is_some();
        (!has_elements).then(|| self.tree.0.text_content_deep(self.id).trim_ascii().to_owned())
    }
}

/// `text` as it stands in an element or in an attribute.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, profile: Profile) -> Result<(), XmlError> {
        Tree::read(text.as_bytes(), 100_000, profile).map(|_| ())
    }

    #[test]
    fn a_message_is_elements_attributes_and_text_and_nothing_else() {
        for accepted in
            ["<a/>", "<?xml version=\"1.0\" encoding=\"utf-8\"?><a b='c'>&lt;&#65;</a>", "\u{feff} <a/> "]
        {
            assert_eq!(read(accepted, Profile::Message), Ok(()), "{accepted}");
        }
        for refused in [
            "<a><!-- note --></a>",
            "<a/><!-- note -->",
            "<a><![CDATA[b]]></a>",
            "<!DOCTYPE a><a/>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
            "<a>&b;</a>",
            "<a><?php b ?></a>",
            "<?xml-stylesheet href='b'?><a/>",
            "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?><a/>",
            "<?xml version=\"1.0\"?><?b c?><a/>",
            "<a ID='1'><b ID='1'/></a>",
            "<a ID='1'><b Id='1'/></a>",
            "<a xmlns:x='urn:x' x:ID='1'/>",
            "<a xml:id='1'/>",
            "<a b='1' b='2'/>",
            "<a:b/>",
            "<a></b>",
            "<a/><b/>",
            "<a<b/>",
            "<a b='<'/>",
            "",
        ] {
            assert!(read(refused, Profile::Message).is_err(), "{refused}");
        }
        assert_eq!(read("<a><!-- = a note --><b ID='1'/><b ID='1'/></a>", Profile::Metadata), Ok(()));
        assert!(read("<!DOCTYPE a><a/>", Profile::Metadata).is_err());
    }

    #[test]
    fn what_would_keep_the_parser_busy_does_not_reach_it() {
        let attributes = |count: usize| {
            let all: Vec<String> = (0..count).map(|it| format!(" a{it}='\"=>'")).collect();
            format!("<a><b{}/></a>", all.concat())
        };
        assert_eq!(read(&attributes(MAX_ATTRIBUTES), Profile::Message), Ok(()));
        assert!(read(&attributes(MAX_ATTRIBUTES + 1), Profile::Message).is_err());
        let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert_eq!(read(&nested(60), Profile::Message), Ok(()));
        assert!(read(&nested(70), Profile::Message).is_err());
        for opened in ["<", "<a ", "<a b='"] {
            let within = Err(XmlError::NotAccepted("a `<` within a tag"));
            assert_eq!(read(&opened.repeat(10_000), Profile::Message), within, "the first tag tells");
        }
        assert_eq!(read(&"a".repeat(100_001), Profile::Message), Err(XmlError::TooLarge(100_000)));
    }

    #[test]
    fn an_attribute_of_another_namespace_and_text_beside_elements_are_not_read() {
        let text = "<a xmlns:x='urn:x' x:b='1' c='2'> one <d/> two </a>";
        let tree = Tree::read(text.as_bytes(), 1000, Profile::Message).unwrap();
        let root = tree.root().unwrap();
        assert_eq!((root.attribute("b"), root.attribute("c"), root.text()), (None, Some("2"), None));
    }
}
