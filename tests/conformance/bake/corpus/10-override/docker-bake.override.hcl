variable "TAG" { default = "override" }
target "app" {
  args = { B = "3", C = TAG }
  annotations = ["y=2"]
  platforms = ["linux/amd64"]
}
