"""What takes longer than a chapter may: experiments with kept results."""
