target "default" {
  tags = "not a list"
}
