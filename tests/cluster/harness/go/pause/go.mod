module zenml.invalid/pause

go 1.24
