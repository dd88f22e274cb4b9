"""What outlives the process, behind the Store plug."""
