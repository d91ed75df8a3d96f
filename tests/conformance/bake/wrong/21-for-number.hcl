target "default" {
  tags = [for x in 5 : x]
}
