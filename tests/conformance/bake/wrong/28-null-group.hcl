group "default" {
  description = "nothing"
}
