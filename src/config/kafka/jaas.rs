//! Credentials out of a JAAS line (`sasl.jaas.config`).
//!
//! The grammar is Kafka's (`JaasConfig`, a Java `StreamTokenizer`): a login module, a control flag,
//! options `name=value` with values bare or in single or double quotes, a final `;`, comments as in
//! Java. Messages never quote a value.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// Who logs in. No `Debug`: it holds secrets.
pub(crate) enum Login {
    /// SASL/PLAIN.
    Plain { username: String, password: String },
    /// SASL/SCRAM, any hash.
    Scram { username: String, password: String },
    /// SASL/OAUTHBEARER with the credentials of an application.
    OAuthBearer { client_id: Option<String>, client_secret: Option<String>, scope: Option<String> },
}

impl Login {
    /// What must not be shown.
    pub(crate) fn secret(&self) -> &str {
        match self {
            Login::Plain { password, .. } | Login::Scram { password, .. } => password,
            Login::OAuthBearer { client_secret, .. } => client_secret.as_deref().unwrap_or_default(),
        }
    }
}

#[derive(Clone, Copy)]
enum Module {
    Plain,
    Scram,
    OAuthBearer,
}

/// Reads a JAAS line.
///
/// # Errors
/// A sentence that says what is wrong, without any value.
pub(crate) fn parse(text: &str) -> Result<Login, String> {
    let mut tokens = tokens(text)?.into_iter();
    let Some(Token::Word(class)) = tokens.next() else {
        return Err("the JAAS line does not begin with a login module".into());
    };
    let module = module(&class)?;
    match tokens.next() {
        Some(Token::Word(flag))
            if ["required", "requisite", "sufficient", "optional"]
                .iter()
                .any(|f| f.eq_ignore_ascii_case(&flag)) => {}
        _ => {
            return Err(
                "the login module must be followed by required (or requisite, sufficient, optional)".into()
            );
        }
    }
    let mut given = BTreeMap::new();
    loop {
        let name = match tokens.next() {
            Some(Token::Semicolon) => break,
            Some(Token::Word(name)) => name,
            Some(Token::Equals) => return Err("an option of the JAAS line has no name".into()),
            None => return Err("the JAAS line does not end with ;".into()),
        };
        let (Some(Token::Equals), Some(Token::Word(value))) = (tokens.next(), tokens.next()) else {
            return Err("an option of the JAAS line is not of the form name=\"value\"".into());
        };
        if name == "tokenauth" && value.eq_ignore_ascii_case("true") {
            return Err("delegation tokens (tokenauth) are not available; use a SCRAM user".into());
        }
        // Other options (serviceName, ssl.protocol, user_…) mean nothing to these modules on a client.
        given.insert(name, value);
    }
    if tokens.next().is_some() {
        return Err("the JAAS line names more than one login module".into());
    }
    let mut need = |name: &str| given.remove(name).ok_or_else(|| format!("the JAAS line has no {name}"));
    Ok(match module {
        Module::Plain => Login::Plain { username: need("username")?, password: need("password")? },
        Module::Scram => Login::Scram { username: need("username")?, password: need("password")? },
        Module::OAuthBearer => Login::OAuthBearer {
            client_id: given.remove("clientId"),
            client_secret: given.remove("clientSecret"),
            scope: given.remove("scope"),
        },
    })
}

fn module(class: &str) -> Result<Module, String> {
    let class =
        class.strip_prefix("kafkashaded.").or_else(|| class.strip_prefix("shadedmskiam.")).unwrap_or(class);
    match class {
        "org.apache.kafka.common.security.plain.PlainLoginModule" => Ok(Module::Plain),
        "org.apache.kafka.common.security.scram.ScramLoginModule" => Ok(Module::Scram),
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule" => Ok(Module::OAuthBearer),
        "software.amazon.msk.auth.iam.IAMLoginModule" => {
            Err("MSK IAM is not available; use ScramLoginModule with a SCRAM user".into())
        }
        "com.sun.security.auth.module.Krb5LoginModule" => {
            Err("Kerberos is not available; use PlainLoginModule or ScramLoginModule".into())
        }
        _ => Err("the login module is unknown; expected PlainLoginModule, ScramLoginModule or OAuthBearerLoginModule with its package".into()),
    }
}

enum Token {
    Word(String),
    Equals,
    Semicolon,
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '=' => tokens.push(Token::Equals),
            ';' => tokens.push(Token::Semicolon),
            '"' | '\'' => tokens.push(Token::Word(quoted(&mut chars, c)?)),
            '/' => comment(&mut chars)?,
            c => {
                let mut word = String::from(c);
                let ends = |c: &char| c.is_whitespace() || matches!(c, '=' | ';' | '"' | '\'' | '/');
                while let Some(c) = chars.next_if(|c| !ends(c)) {
                    word.push(c);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

fn quoted(chars: &mut Peekable<Chars<'_>>, quote: char) -> Result<String, String> {
    let mut value = String::new();
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => return Ok(value),
            '\\' => match chars.next() {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                Some(c) => value.push(c),
                None => break,
            },
            '\n' => break,
            c => value.push(c),
        }
    }
    Err("a quoted value of the JAAS line is not closed".into())
}

/// Java's tokenizer: `//` and `/* */` are comments, and so is everything behind a lone `/`.
fn comment(chars: &mut Peekable<Chars<'_>>) -> Result<(), String> {
    if chars.next_if_eq(&'*').is_none() {
        while chars.next_if(|c| *c != '\n').is_some() {}
        return Ok(());
    }
    let mut last = ' ';
    for c in chars.by_ref() {
        if last == '*' && c == '/' {
            return Ok(());
        }
        last = c;
    }
    Err("a comment of the JAAS line is not closed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";
    const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";

    #[test]
    fn credentials_are_read_as_kafka_reads_them() {
        let cases = [
            (
                format!(
                    "kafkashaded.{PLAIN} required username=\"$ConnectionString\" password=\"Endpoint=sb://n/;K=a==\";"
                ),
                ("$ConnectionString", "Endpoint=sb://n/;K=a=="),
            ),
            (format!("{SCRAM} Requisite username='u' password='a\\'b' tokenauth=false ;"), ("u", "a'b")),
            (
                format!("{PLAIN}\n required\n username = bob\n /* note */ password=s3cret; // end"),
                ("bob", "s3cret"),
            ),
        ];
        for (text, (username, password)) in cases {
            match parse(&text).map_err(|e| panic!("{text}: {e}")).unwrap() {
                Login::Plain { username: u, password: p } | Login::Scram { username: u, password: p } => {
                    assert_eq!((u.as_str(), p.as_str()), (username, password));
                }
                Login::OAuthBearer { .. } => panic!("{text}"),
            }
        }
    }

    #[test]
    fn the_block_of_databricks_for_entra_id_is_read() {
        let text = "kafkashaded.org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required clientId=\"c\" clientSecret=\"hunter2\" scope=\"https://ns.servicebus.windows.net/.default\" ssl.protocol=\"SSL\";";
        let Ok(Login::OAuthBearer { client_id, client_secret, scope }) = parse(text) else {
            panic!("{text}")
        };
        assert_eq!(client_id.as_deref(), Some("c"));
        assert_eq!(client_secret.as_deref(), Some("hunter2"));
        assert_eq!(scope.as_deref(), Some("https://ns.servicebus.windows.net/.default"));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        let cases = [
            (
                format!("{PLAIN} required username=\"u\" password=\"hunter2\""),
                "the JAAS line does not end with ;",
            ),
            (format!("{PLAIN} required username=\"u\";"), "the JAAS line has no password"),
            (
                format!("{PLAIN} username=\"u\" password=\"hunter2\";"),
                "the login module must be followed by required (or requisite, sufficient, optional)",
            ),
            (
                format!("{PLAIN} required password=\"hunter2;"),
                "a quoted value of the JAAS line is not closed",
            ),
            (
                "shadedmskiam.software.amazon.msk.auth.iam.IAMLoginModule required;".into(),
                "MSK IAM is not available; use ScramLoginModule with a SCRAM user",
            ),
            (
                "hunter2 required;".into(),
                "the login module is unknown; expected PlainLoginModule, ScramLoginModule or OAuthBearerLoginModule with its package",
            ),
            ("".into(), "the JAAS line does not begin with a login module"),
            (
                format!("{PLAIN} required password=hunter2 username u;"),
                "an option of the JAAS line is not of the form name=\"value\"",
            ),
            (
                format!("{PLAIN} required username=u password=\"hunter2\"; {SCRAM} required;"),
                "the JAAS line names more than one login module",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(parse(&text).err().as_deref(), Some(message), "{text}");
        }
    }
}
