"""What deploys: the template of resources, and the commands that package, provision and check."""
