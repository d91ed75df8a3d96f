//! `images` and `image ls`.

use dray_client::api::image::ImageSummary;
use dray_spec::Reference;

use crate::app::App;
use crate::command::container::ls::id;
use crate::command::format_flag;
use crate::flag::{Flag, NONE, Parsed, filter, switch};
use crate::format::listing::{Format, Titles};
use crate::format::time::{ago, go_local};
use crate::format::units::{human_size, human_size_with};
use crate::spec::{Args, Command, Done};
use crate::value::{Row, Value};

const FLAGS: &[Flag] = &[
    switch("all", 'a', "Also show images in between"),
    switch("digests", NONE, "Show digests"),
    filter('f', "Show those that match"),
    format_flag("Format of the output: table, 'table TEMPLATE', json, or a Go template"),
    switch("no-trunc", NONE, "Do not cut long texts"),
    switch("quiet", 'q', "Show ids only"),
    switch("tree", NONE, "Show the platforms of each image").hidden(),
];

const ABOUT: &str = "List images";
const ALSO: &[&str] = &["image ls", "image list", "images"];

/// `images`
pub static IMAGES: Command =
    Command::new("images", &["[OPTIONS] [REPOSITORY[:TAG]]"], Args::AtMost(1), ABOUT, |a, p| {
        Box::pin(run(a, p))
    })
    .flags(&[FLAGS])
    .also(ALSO);

/// `image ls`
pub static LS: Command =
    Command::new("ls", &["[OPTIONS] [REPOSITORY[:TAG]]"], Args::AtMost(1), ABOUT, |a, p| Box::pin(run(a, p)))
        .flags(&[FLAGS])
        .aliases(&["list"])
        .also(ALSO);

/// Columns and their titles.
pub const TITLES: Titles = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

async fn run(app: &App, p: Parsed) -> Done {
    let mut filters = p.filters();
    if let Some(name) = p.args.first() {
        filters.add("reference", name.as_str());
    }
    let mut text = p.get("format").to_owned();
    if text.is_empty() {
        text = app.config().borrow().text("imagesFormat").to_owned();
    }
    let format_text = named_format(&text, p.is("quiet"), p.is("digests"));
    let digests = p.is("digests") || format_text.contains("{{.Digest}}");
    let format = Format::parse(&format_text)?;
    let images = app.client()?.image_list(p.is("all"), &filters).await?;
    let trunc = !p.is("no-trunc");
    let rows = images.iter().flat_map(|i| rows(i, trunc, digests, p.is("digests")));
    app.print(format.render(TITLES, rows)?)?;
    Ok(0)
}

fn named_format(text: &str, quiet: bool, digests: bool) -> String {
    let created = "{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}";
    match text {
        "" | "table" if quiet => "{{.ID}}".into(),
        "" | "table" if digests => {
            format!(
                "table {{{{.Repository}}}}\t{{{{.Tag}}}}\t{{{{.Digest}}}}\t{{{{.ID}}}}\t{created}\t{{{{.Size}}}}"
            )
        }
        "" | "table" => {
            format!("table {{{{.Repository}}}}\t{{{{.Tag}}}}\t{{{{.ID}}}}\t{created}\t{{{{.Size}}}}")
        }
        "raw" if quiet => "image_id: {{.ID}}".into(),
        "raw" => {
            let digest = if digests { "digest: {{.Digest}}\n" } else { "" };
            format!(
                "repository: {{{{ .Repository }}}}\ntag: {{{{.Tag}}}}\n{digest}image_id: {{{{.ID}}}}\ncreated_at: {{{{.CreatedAt}}}}\nvirtual_size: {{{{.Size}}}}\n"
            )
        }
        other if other.starts_with("table") && digests && !other.contains("{{.Digest}}") => {
            format!("{other}\t{{{{.Digest}}}}")
        }
        other => other.to_owned(),
    }
}

/// The rows of an image: one for each of its names.
pub fn rows(image: &ImageSummary, trunc: bool, digests: bool, digests_alone: bool) -> Vec<Row> {
    let none = "<none>";
    let dangling = (image.repo_tags.is_empty() && image.repo_digests.is_empty())
        || (image.repo_tags == ["<none>:<none>"] && image.repo_digests == ["<none>@<none>"]);
    if dangling {
        return vec![row(image, trunc, none, none, none)];
    }
    let parse = |list: &[String]| list.iter().filter_map(|r| Reference::parse(r).ok()).collect::<Vec<_>>();
    let (tags, digest_refs) = (parse(&image.repo_tags), parse(&image.repo_digests));
    let mut out = Vec::new();
    for tag in &tags {
        let repo = tag.familiar_name();
        let name = tag.tag().unwrap_or(none);
        let same: Vec<String> = digest_refs
            .iter()
            .filter(|d| digests && d.familiar_name() == repo)
            .filter_map(|d| d.digest().map(ToString::to_string))
            .collect();
        if same.is_empty() {
            out.push(row(image, trunc, &repo, name, none));
        }
        out.extend(same.iter().map(|d| row(image, trunc, &repo, name, d)));
    }
    for digest in digest_refs {
        let repo = digest.familiar_name();
        if tags.iter().any(|t| t.familiar_name() == repo) {
            continue;
        }
        let text = digest.digest().filter(|_| digests_alone).map(ToString::to_string).unwrap_or_default();
        out.push(row(image, trunc, &repo, none, &text));
    }
    out
}

fn row(image: &ImageSummary, trunc: bool, repo: &str, tag: &str, digest: &str) -> Row {
    let size = human_size_with(image.size as f64, 3);
    let or_na = |known: bool, text: String| if known { text } else { "N/A".into() };
    let fields: Vec<(&'static str, Value)> = vec![
        ("ID", id(&image.id, trunc).into()),
        ("Repository", repo.into()),
        ("Tag", tag.into()),
        ("Digest", digest.into()),
        ("CreatedSince", ago(image.created).into()),
        ("CreatedAt", go_local(image.created).into()),
        ("Size", size.into()),
        ("Containers", or_na(image.containers != -1, image.containers.to_string()).into()),
        ("VirtualSize", human_size(image.size as f64).into()),
        ("SharedSize", or_na(image.shared_size != -1, human_size(image.shared_size as f64)).into()),
        (
            "UniqueSize",
            or_na(
                image.size != -1 && image.shared_size != -1,
                human_size((image.size - image.shared_size) as f64),
            )
            .into(),
        ),
    ];
    Row { type_name: "*formatter.imageContext", fields, labels: None }
}
