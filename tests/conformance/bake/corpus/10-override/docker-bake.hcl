variable "TAG" { default = "base" }
group "default" { targets = ["app"] }
target "app" {
  tags = ["app:${TAG}"]
  args = { A = "1", B = "2" }
  annotations = ["x=1"]
}
