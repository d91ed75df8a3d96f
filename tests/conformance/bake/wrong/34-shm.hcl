target "default" {
  shm-size = "much"
}
