variable "V" { default = "a" }
target "app" {
  tags = ["app:${V}"]
  contexts = { one = "1" }
}
