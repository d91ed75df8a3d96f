target "default" {
  dockerfile = target.base.nosuch
}
target "base" {}
