target "default" {
  output = ["dest=x,a=b"]
}
