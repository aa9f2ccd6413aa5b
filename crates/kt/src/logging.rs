//! The program's log: lines on standard error.

use kt_domain::deployment_config::{LogFormat, LogSection};
use tracing_subscriber::EnvFilter;

use crate::environment;
use crate::failure::Failure;

/// The variable that says what is told; it comes before the configuration.
const VARIABLE: &str = "KEEPTRUSTS_LOG";

/// Begins to log as the configuration says. Where this process logs already, as a gateway does beside a control plane, it
/// goes on as it began.
pub(crate) fn start(section: &LogSection) -> Result<(), Failure> {
    let filter = filter(environment::variable(VARIABLE).as_deref(), section.level.as_deref())?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // It fails where there is a log already.
    let _ = match section.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    Ok(())
}

fn filter(variable: Option<&str>, level: Option<&str>) -> Result<EnvFilter, Failure> {
    let (place, text) = match (variable, level) {
        (Some(text), _) => (VARIABLE, text),
        (None, Some(text)) => ("telemetry.log.level", text),
        (None, None) => return Ok(EnvFilter::new("info")),
    };
    EnvFilter::try_new(text).map_err(|why| {
        Failure::invalid(format!(
            "`{place}` cannot be understood: {why}; write a level such as `info`, or by part as in `warn,kt_control=debug`"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_comes_before_the_configuration_and_info_is_the_default() {
        for (variable, level, expected) in [
            (None, None, "info"),
            (None, Some("warn"), "warn"),
            (Some("debug"), Some("warn"), "debug"),
            (Some("warn,kt_control=debug"), None, "kt_control=debug,warn"),
        ] {
            assert_eq!(filter(variable, level).unwrap().to_string(), expected);
        }
        for (variable, level) in [(Some("loud=very=much"), None), (None, Some("loud=very=much"))] {
            assert!(filter(variable, level).is_err(), "{variable:?} {level:?}");
        }
    }
}
