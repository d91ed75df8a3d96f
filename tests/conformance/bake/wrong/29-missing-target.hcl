group "default" { targets = ["app"] }
