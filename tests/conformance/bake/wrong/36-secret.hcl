target "default" {
  secret = ["id=x,what=y"]
}
