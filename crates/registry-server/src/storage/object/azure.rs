//! Azure Blob Storage.
//!
//! An account's connection string says all at once, as the portal gives it; else account, key or token come by the
//! names that Azure's command line and the library know. The emulator (Azurite) is an account that everybody knows.

use object_store::ClientOptions;
use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};

use super::connect::{Unfit, checked, patience};
use super::environment::Environment;
use super::http::Connector;

const ALLOW_HTTP: &str = "AZURE_ALLOW_HTTP";
const CONNECTION: &str = "AZURE_STORAGE_CONNECTION_STRING";
const EMULATOR: &str = "AZURE_STORAGE_USE_EMULATOR";

/// The emulator's account, key and address, published by its makers and the same everywhere.
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const EMULATOR_ADDRESS: &str = "http://127.0.0.1:10000";

/// An account, as far as it is told.
#[derive(Debug, Default, PartialEq)]
struct Account {
    name: Option<String>,
    key: Option<String>,
    token: Option<String>,
    endpoint: Option<String>,
}

/// The container of this name.
pub(super) fn open(container: &str, environment: &Environment) -> Result<MicrosoftAzure, Unfit> {
    let mut builder = MicrosoftAzureBuilder::new().with_client_options(ClientOptions::new());
    for (name, value) in environment.beginning("AZURE_") {
        match name.to_ascii_lowercase().parse() {
            // The library would speak plain HTTP to wherever the emulator is said to be.
            Ok(AzureConfigKey::UseEmulator) | Err(_) => {}
            Ok(key) => builder = builder.with_config(key, value),
        }
    }
    if let Some(endpoint) = environment.get("IDENTITY_ENDPOINT") {
        builder = builder.with_msi_endpoint(endpoint);
    }
    builder = described(builder, account(environment)?);
    let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
    if let Some(endpoint) = endpoint {
        checked(&endpoint, ALLOW_HTTP, environment)?;
    }
    Ok(builder
        .with_container_name(container)
        .with_http_connector(Connector)
        .with_retry(patience())
        .build()?)
}

fn described(builder: MicrosoftAzureBuilder, account: Account) -> MicrosoftAzureBuilder {
    let said = [
        (AzureConfigKey::AccountName, account.name),
        (AzureConfigKey::AccessKey, account.key),
        (AzureConfigKey::SasKey, account.token),
        (AzureConfigKey::Endpoint, account.endpoint),
    ];
    said.into_iter().fold(builder, |builder, (key, value)| match value {
        Some(value) => builder.with_config(key, value),
        None => builder,
    })
}

/// What the connection string, or the variables that the library does not know, say.
fn account(environment: &Environment) -> Result<Account, Unfit> {
    if let Some(text) = environment.get(CONNECTION) {
        return connection(text, environment);
    }
    if environment.is_on(EMULATOR) {
        return Ok(emulator(environment));
    }
    let own = |name: &str| environment.get(name).map(str::to_owned);
    Ok(Account { name: own("AZURE_STORAGE_ACCOUNT"), key: own("AZURE_STORAGE_KEY"), ..Account::default() })
}

fn emulator(environment: &Environment) -> Account {
    let known = |names: &[&str], usual: &str| Some(environment.any(names).unwrap_or(usual).to_owned());
    let name = known(&["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"], EMULATOR_ACCOUNT);
    let address = environment.get("AZURITE_BLOB_STORAGE_URL").unwrap_or(EMULATOR_ADDRESS);
    let endpoint =
        format!("{}/{}", address.trim_end_matches('/'), name.as_deref().unwrap_or(EMULATOR_ACCOUNT));
    let key = known(&["AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"], EMULATOR_KEY);
    Account { name, key, token: None, endpoint: Some(endpoint) }
}

/// Reads `Name=value;Name=value`.
fn connection(text: &str, environment: &Environment) -> Result<Account, Unfit> {
    let wrong = Unfit::ConnectionString;
    let mut protocol = "https".to_owned();
    let mut suffix = "core.windows.net".to_owned();
    let mut account = Account::default();
    for pair in text.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or(wrong("it is not Name=value;Name=value"))?;
        let value = value.trim().to_owned();
        match name.trim().to_ascii_lowercase().as_str() {
            "usedevelopmentstorage" if value.eq_ignore_ascii_case("true") => {
                return Ok(emulator(environment));
            }
            "accountname" => account.name = Some(value),
            "accountkey" => account.key = Some(value),
            "sharedaccesssignature" => account.token = Some(value),
            "blobendpoint" => account.endpoint = Some(value.trim_end_matches('/').to_owned()),
            "defaultendpointsprotocol" => protocol = value,
            "endpointsuffix" => suffix = value,
            _ => {}
        }
    }
    if account.key.is_none() && account.token.is_none() {
        return Err(wrong("it has neither AccountKey nor SharedAccessSignature"));
    }
    if account.name.is_none() {
        account.name = account.endpoint.as_deref().and_then(owner);
    }
    let name = account.name.as_deref().ok_or(wrong("it has no AccountName"))?;
    account.endpoint.get_or_insert_with(|| format!("{protocol}://{name}.blob.{suffix}"));
    Ok(account)
}

/// The account that an endpoint belongs to: the first part of its host.
fn owner(endpoint: &str) -> Option<String> {
    let url = url::Url::parse(endpoint).ok()?;
    let (name, _) = url.domain()?.split_once('.')?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(variables: &[(&str, &str)]) -> Result<Account, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        account(&variables.collect()).map_err(|error| error.to_string())
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_connection_string_says_all() {
        let text =
            "DefaultEndpointsProtocol=https;AccountName=ann;AccountKey=a2V5==;EndpointSuffix=core.cloud.test";
        assert_eq!(
            told(&[(CONNECTION, text)]).unwrap(),
            Account {
                name: some("ann"),
                key: some("a2V5=="),
                token: None,
                endpoint: some("https://ann.blob.core.cloud.test")
            }
        );
        let text = "BlobEndpoint=https://ann.blob.test/;SharedAccessSignature=sv=1&sig=x%3D";
        assert_eq!(
            told(&[(CONNECTION, text)]).unwrap(),
            Account {
                name: some("ann"),
                key: None,
                token: some("sv=1&sig=x%3D"),
                endpoint: some("https://ann.blob.test")
            }
        );
        for (text, problem) in [
            ("nonsense", "it is not Name=value;Name=value"),
            ("AccountName=ann", "it has neither AccountKey nor SharedAccessSignature"),
            ("AccountKey=a2V5", "it has no AccountName"),
        ] {
            let error = told(&[(CONNECTION, text)]).unwrap_err();
            assert_eq!(error, format!("AZURE_STORAGE_CONNECTION_STRING: {problem}"));
        }
    }

    #[test]
    fn the_command_line_s_names_are_known() {
        let account = told(&[("AZURE_STORAGE_ACCOUNT", "ann"), ("AZURE_STORAGE_KEY", "a2V5")]).unwrap();
        assert_eq!((account.name, account.key), (some("ann"), some("a2V5")));
    }

    #[test]
    fn the_emulator_is_known() {
        for variables in [[(EMULATOR, "true")], [(CONNECTION, "UseDevelopmentStorage=true")]] {
            let account = told(&variables).unwrap();
            assert_eq!(account.endpoint, some("http://127.0.0.1:10000/devstoreaccount1"));
            assert_eq!(account.key, some(EMULATOR_KEY));
        }
    }
}
