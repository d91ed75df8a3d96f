target "default" {
  tags = [null]
}
