target "app" {
  tags = ["example/app:bake"]
  platforms = ["linux/amd64"]
}
