//! The reference pages under `docs/reference` say what the code says. `KEEPTRUSTS_WRITE_REFERENCE=1` writes them.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::deployment_config;
use crate::policy_config::{CODES, json_schema};

const GENERATED: &str = "<!-- Made from the code; `KEEPTRUSTS_WRITE_REFERENCE=1 cargo test -p kt-domain reference` writes it anew. -->";

/// What the page of a gateway's configuration says before its keys.
const GATEWAY: &str = "# `policy-config.yaml`

Every key of the gateway's configuration. A key that is not listed here is refused. A later `--policy-config` file
overrides an earlier one key by key; a list replaces the whole list. A length of time is a number and a unit: `500ms`,
`30s`, `2m`, `1h`, `7d`.

[`policy-config.schema.json`](policy-config.schema.json) says the same for editors; [`lint-codes.md`](lint-codes.md)
explains what the linter finds.
";

/// What the page of a deployment's configuration says before its keys.
const DEPLOYMENT: &str = "# `keeptrusts.yaml`

Every key of the control plane's configuration, which `kt server run` and `kt up` read with `--config`. A key that is not
listed here is refused. Each can also be set by an environment variable, which wins: its path in capitals, joined by two
underscores and after `KEEPTRUSTS_`, as in `KEEPTRUSTS_API__LISTEN`; a list is written `one, another`, with or without
brackets around it. A length of time is a number and a unit: `500ms`, `30s`, `2m`, `1h`, `7d`.

[`keeptrusts.schema.json`](keeptrusts.schema.json) says the same for editors; [the guide](../guide/control-plane.md)
says how the parts go together.
";

#[test]
fn the_schemas_are_the_ones_in_the_docs() {
    for (name, schema) in [
        ("policy-config.schema.json", json_schema()),
        ("keeptrusts.schema.json", deployment_config::json_schema()),
    ] {
        compare(name, &format!("{schema:#}\n"));
    }
}

#[test]
fn the_pages_of_keys_are_the_ones_in_the_docs() {
    compare("policy-config.md", &page_of_keys(GATEWAY, &json_schema()));
    compare("keeptrusts.md", &page_of_keys(DEPLOYMENT, &deployment_config::json_schema()));
}

#[test]
fn the_page_of_codes_is_the_one_in_the_docs() {
    compare("lint-codes.md", &page_of_codes());
}

#[test]
fn codes_are_unique_and_in_order() {
    let ids: Vec<_> = CODES.iter().map(|code| code.id).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
}

/// Compares a page with its file, or writes the file if that is asked for.
fn compare(name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    if std::env::var_os("KEEPTRUSTS_WRITE_REFERENCE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is out of date: set KEEPTRUSTS_WRITE_REFERENCE=1 to write it",
        path.display()
    );
}

fn page_of_codes() -> String {
    let mut page = format!(
        "{GENERATED}\n\n# Findings of `kt policy lint`\n\nAn error (`E…`) stops a configuration from being used, when the gateway starts and when it reloads. A warning\n(`W…`) does not.\n\n| code | what it means |\n|---|---|\n"
    );
    for code in CODES {
        writeln!(page, "| `{}` | {} |", code.id, code.meaning).unwrap();
    }
    page
}

fn page_of_keys(beginning: &str, schema: &Value) -> String {
    let mut page = format!("{GENERATED}\n\n{beginning}");
    for (name, section) in properties(schema) {
        match &resolve(schema, section)["items"] {
            Value::Null => write_section(&mut page, schema, name, section),
            item => write_section(&mut page, schema, &format!("{name}[]"), item),
        }
    }
    page
}

/// Writes the table of one section, then the sections inside it.
fn write_section(page: &mut String, root: &Value, path: &str, schema: &Value) {
    let section = resolve(root, schema);
    writeln!(page, "\n## `{path}`\n\n{}\n", sentence(schema, section)).unwrap();
    writeln!(page, "| key | type | default | range | meaning |\n|---|---|---|---|---|").unwrap();
    let mut inner = Vec::new();
    for (key, property) in properties(section) {
        let resolved = resolve(root, property);
        let (kind, range) = kind_and_range(root, resolved);
        let default = default(section, key, property);
        let meaning = sentence(property, resolved).replace('\n', " ");
        writeln!(page, "| `{key}` | {kind} | {default} | {range} | {meaning} |").unwrap();
        let item = resolve(root, &resolved["items"]);
        if resolved.get("properties").is_some() {
            inner.push((format!("{path}.{key}"), property));
        } else if item.get("properties").is_some() {
            inner.push((format!("{path}.{key}[]"), &resolved["items"]));
        }
    }
    for (path, schema) in inner {
        write_section(page, root, &path, schema);
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    schema["$ref"].as_str().map_or(schema, |reference| &root["$defs"][reference.rsplit('/').next().unwrap()])
}

fn sentence<'a>(property: &'a Value, resolved: &'a Value) -> &'a str {
    property["description"].as_str().or(resolved["description"].as_str()).expect("every key has its sentence")
}

fn default(section: &Value, key: &str, property: &Value) -> String {
    let required =
        section["required"].as_array().is_some_and(|required| required.iter().any(|name| name == key));
    match &property["default"] {
        _ if required => "required".into(),
        Value::Null | Value::Object(_) => "—".into(),
        default => format!("`{default}`"),
    }
}

fn kind_and_range(root: &Value, schema: &Value) -> (String, String) {
    let bounds = |low: &str, high: &str, unit: &str| match (&schema[low], &schema[high]) {
        (Value::Null, Value::Null) => "—".into(),
        (low, Value::Null) if low == 1 => format!("at least {low}{}", unit.trim_end_matches('s')),
        (low, Value::Null) => format!("at least {low}{unit}"),
        (Value::Null, high) => format!("at most {high}{unit}"),
        (low, high) => format!("{low} to {high}{unit}"),
    };
    if let Some(choices) = schema["oneOf"].as_array() {
        let choices: Vec<_> =
            choices.iter().map(|choice| format!("`{}`", choice["const"].as_str().unwrap())).collect();
        return ("text".into(), choices.join(", "));
    }
    if schema["format"] == "amount-text" {
        return ("amount of money".into(), "`0` to `1000000000`, with up to 6 decimals".into());
    }
    match schema["type"].as_str().unwrap() {
        "boolean" => ("boolean".into(), "`true`, `false`".into()),
        "integer" => ("whole number".into(), bounds("minimum", "maximum", "")),
        "string" if schema["format"] == "duration-text" => {
            ("length of time".into(), "`1ms` to `720h`".into())
        }
        "string" => ("text".into(), bounds("minLength", "maxLength", " characters")),
        "array" => {
            let (item, range) = kind_and_range(root, resolve(root, &schema["items"]));
            (format!("list of {item}s"), range)
        }
        _ => ("mapping".into(), "—".into()),
    }
}
