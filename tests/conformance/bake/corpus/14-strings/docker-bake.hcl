variable "NAMES" { default = ["x", "y"] }
target "default" {
  dockerfile-inline = <<-EOT
    FROM alpine
    RUN echo "$${HOME}" && echo %%{if}
      RUN indented ${NAMES[0]}
  EOT
  args = {
    plain   = <<EOT
  kept
 as is
EOT
    ifs     = "a%{ if length(NAMES) > 1 }many%{ else }one%{ endif }b"
    fors    = "%{ for n in NAMES }<${n}>%{ endfor }"
    strip   = "a   ${~ "b" ~}   c"
    escapes = "tab\t quote\" newline\n back\\ uni\u00e9 \U0001F600"
    dollar  = "$$ $ {x} $${y} %%{z}"
    unicode = "日本語"
  }
  labels = { "k${NAMES[1]}" = "v", (NAMES[0]) = "paren" }
}
